"""The request that sends a task to the app."""

from typing import Any

from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.http.forwarding import NOT_FORWARDED
from gae_devserver.tasks.queues import Queue

_NAMESPACE_HEADER = "x-appengine-current-namespace"


def task_request(queue: Queue, task: Any, offset: float) -> Request:
    """Return the request of a task; see `task_headers` for `offset`."""
    return Request(
        task.RequestMethod.Name(task.method),
        task_target(task.url),
        CIMultiDict(task_headers(queue, task, offset)),
        task.body,
    )


def task_target(url: bytes) -> str:
    """Return a task's URL as a request target, with invalid bytes encoded."""
    return "".join(chr(b) if 0x20 < b < 0x7F else f"%{b:02X}" for b in url)


def task_headers(queue: Queue, task: Any, offset: float) -> list[tuple[str, str]]:
    """Return the headers of a task's request: its own, and those that describe it.

    The ETA is reduced by `offset`, the seconds that the server's clock is ahead of the
    app's. Source: "Task request headers" in App Engine's documentation of push queues.
    """
    headers = []
    for header in task.header:
        name, value = header.key.decode("latin-1"), _decoded(header.value)
        folded = name.lower().replace("_", "-")
        # X-AppEngine headers of the task itself are forged, except the namespace
        if folded.startswith("x-appengine-") and folded != _NAMESPACE_HEADER:
            continue
        if folded not in NOT_FORWARDED | {"host"}:
            headers.append((name, value))
    has_type = any(name.lower() == "content-type" for name, _ in headers)
    if task.HasField("body") and not has_type:
        headers.append(("Content-Type", "application/octet-stream"))
    eta = task.eta_usec / 1e6 - offset
    headers += [
        ("X-Appengine-Queuename", queue.queue_name),
        ("X-Appengine-Taskname", task.task_name.decode()),
        ("X-Appengine-Taskretrycount", str(task.retry_count)),
        ("X-Appengine-Taskexecutioncount", str(task.execution_count)),
        ("X-Appengine-Tasketa", f"{eta:.6f}"),
    ]
    if task.runlog.response_code:
        previous = str(task.runlog.response_code)
        headers.append(("X-Appengine-Taskpreviousresponse", previous))
    return headers


def _decoded(value: bytes) -> str:
    """Return the text of a header's value, which is sent in UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
