"""The request that sends a task to the app."""

from collections.abc import Iterable
from typing import Any

from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.http.forwarding import NOT_FORWARDED
from gae_devserver.tasks.queues import CRON_QUEUE, Queue

Headers = list[tuple[str, str]]

_NAMESPACE_HEADER = "x-appengine-current-namespace"
_NOT_OWN = NOT_FORWARDED | {"host"}
_USER_AGENT = "AppEngine-Google; (+http://code.google.com/appengine)"


def task_request(queue: Queue, task: Any, service: str, offset: float) -> Request:
    """Return the request to a service for a task of the bundled API.

    The clock of the server is `offset` seconds ahead of the app's.
    """
    return app_engine_request(
        queue,
        task,
        service,
        offset,
        method=task.RequestMethod.Name(task.method),
        url=task.url,
        headers=((h.key.decode("latin-1"), _decoded(h.value)) for h in task.header),
        body=task.body if task.HasField("body") else None,
        keep=_NAMESPACE_HEADER,
    )


def app_engine_request(
    queue: Queue,
    task: Any,
    service: str,
    offset: float,
    *,
    method: str,
    url: bytes,
    headers: Iterable[tuple[str, str]],
    body: bytes | None,
    keep: str = "",
) -> Request:
    """Return the request for a task: its own headers, and those that describe it.

    Of its own X-AppEngine headers, only `keep` (in lower case) is not forged. Source:
    "Task request headers" in App Engine's documentation of push queues.
    """
    own = own_headers(headers, ("x-appengine-", "x-google-"), keep)
    agents = [value for name, value in own if name.lower() == "user-agent"]
    sent = [header for header in own if header[0].lower() != "user-agent"]
    if body is not None and not any(n.lower() == "content-type" for n, _ in sent):
        sent.append(("Content-Type", "application/octet-stream"))
    sent.append(("User-Agent", " ".join([*agents, _USER_AGENT])))
    sent += attempt_headers(
        "X-AppEngine-",
        queue,
        task,
        offset,
        executions=task.execution_count,
        # what production sends after any answer, and after a missed deadline
        retry_reason=(
            "App Error" if task.runlog.response_code else "Instance Unavailable"
        ),
    )
    if queue.queue_name == CRON_QUEUE:
        sent.append(("X-AppEngine-Cron", "true"))
    return Request(method, _task_target(url), CIMultiDict(sent), body, service)


def own_headers(
    headers: Iterable[tuple[str, str]], not_own: tuple[str, ...], keep: str = ""
) -> Headers:
    """Return a task's own headers without those that only the server sets.

    `not_own` are the prefixes of forged headers, and `keep` is one to keep; all are in
    lower case.
    """
    own = []
    for name, value in headers:
        folded = name.lower().replace("_", "-")
        forged = folded.startswith(not_own) and folded != keep
        if not forged and folded not in _NOT_OWN:
            own.append((name, value))
    return own


def attempt_headers(
    prefix: str,
    queue: Queue,
    task: Any,
    offset: float,
    *,
    executions: int,
    retry_reason: str,
) -> Headers:
    """Return the headers that describe an attempt of a task.

    The ETA is the app's time, which is `offset` seconds behind the server's clock.
    """
    eta = task.eta_usec / 1e6 - offset
    headers = [
        (f"{prefix}QueueName", queue.queue_name),
        (f"{prefix}TaskName", task.task_name.decode()),
        (f"{prefix}TaskRetryCount", str(task.retry_count)),
        (f"{prefix}TaskExecutionCount", str(executions)),
        (f"{prefix}TaskETA", f"{eta:.6f}"),
    ]
    if task.runlog.HasField("response_code"):
        previous = str(task.runlog.response_code)
        headers.append((f"{prefix}TaskPreviousResponse", previous))
        headers.append((f"{prefix}TaskRetryReason", retry_reason))
    return headers


def _task_target(url: bytes) -> str:
    """Return a task's URL as a request target, with invalid bytes encoded."""
    return "".join(chr(b) if 0x20 < b < 0x7F else f"%{b:02X}" for b in url)


def _decoded(value: bytes) -> str:
    """Return the text of a header's value, which is sent in UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
