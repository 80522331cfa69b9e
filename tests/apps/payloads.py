"""What a test posts in the name of the task queue: payloads and headers."""

import pathlib

QUEUE_IP = "0.1.0.2"
"""The address that the task queue's requests come from."""


def sent(
    *, task: str | None = "task1", user_ip: str | None = QUEUE_IP, **others: str
) -> list[tuple[str, str]]:
    """Return the headers that App Engine sends with a task; None omits one of them.

    `others` are more X-AppEngine headers, with _ for -.
    """
    headers = {
        "QueueName": "default",
        "TaskName": task,
        "TaskRetryCount": "3",
        "User-IP": user_ip,
        **{name.replace("_", "-"): value for name, value in others.items()},
    }
    return [
        ("Content-Type", "application/octet-stream"),
        *(
            (f"X-AppEngine-{key}", value)
            for key, value in headers.items()
            if value is not None
        ),
    ]


def call(function: str) -> bytes:
    """Return the payload of a task that calls a function of staged_tasks.

    It is the pickle of the tuple (function, (), {}) in protocol 0. This process cannot
    make it, because it cannot import the module beside the staged app.
    """
    return f"(cstaged_tasks\n{function}\n(t(dt.".encode()


def trap(path: pathlib.Path) -> bytes:
    """Return a payload that makes a folder as soon as it is unpickled."""
    return f"cos\nmkdir\n(V{path}\ntR.".encode()
