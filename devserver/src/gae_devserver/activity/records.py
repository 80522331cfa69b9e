"""What is kept of a request to the app, or of one execution of a task."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

Kind = Literal["request", "task", "server"]
Outcome = Literal["running", "done", "failed", "dropped", "deleted"]


@dataclasses.dataclass(slots=True, frozen=True)
class ApiCall:
    """One API call that the app has made."""

    name: str
    """Such as "datastore_v3.Put"."""
    began: float
    """Seconds after the request began."""
    seconds: float
    error: str = ""
    """Why it failed; "": it did not."""
    request: bytes = b""
    """The encoded request; empty: it is too large to be kept."""


@dataclasses.dataclass(slots=True, frozen=True)
class AddedTask:
    """A task that the app has added to a queue."""

    queue: str
    name: str
    what: str
    """The function that it calls, or its URL."""


@dataclasses.dataclass(slots=True, frozen=True)
class LogLine:
    """One line that the app has printed or logged."""

    at: float
    """Seconds since the epoch."""
    level: str
    """Such as "INFO"; "": the app has printed the line itself."""
    logger: str
    """The name of the app's logger, or ""."""
    text: str


@dataclasses.dataclass(slots=True, frozen=True)
class Failure:
    """An exception that the app has logged, or did not catch."""

    type: str
    message: str
    function: str
    """What raised it: the innermost function that belongs to the app."""
    file: str
    """Its file; inside the app's folder it is relative to that."""
    line: int
    traceback: str
    """The traceback without frames of the SDK and the web server."""
    full_traceback: str
    is_permanent: bool = False
    """Whether it is a PermanentTaskFailure, after which the SDK gives the task up."""


@dataclasses.dataclass(slots=True)
class Attempt:
    """One execution of a task."""

    queue: str
    name: str
    number: int
    """1 is the first attempt."""
    eta: float
    """When it was due, on the server's clock: seconds since the epoch."""
    task: Any
    """The task (a QueryTasksResponse.Task) as it was sent; None: no longer kept."""
    outcome: Outcome = "running"
    reason: str = ""
    """What the log says of the outcome, such as "500 in 12 ms"."""
    next_in: float | None = None
    """Seconds until the next attempt; None: there is none."""


@dataclasses.dataclass(slots=True)
class Record:
    """A request from outside or of the server's own, or an execution of a task."""

    number: int
    """Counts the records of this run of the server."""
    kind: Kind
    method: str
    target: str
    """The path with the query, or the URL of an HTTP target."""
    service: str
    """The service that got it; "": none did."""
    began: float
    """Seconds since the epoch."""
    clock: float
    """The same on the server's clock, which can be ahead."""
    started: float
    """The same by `time.perf_counter`."""
    attempt: Attempt | None = None
    """Of a task; None for other requests."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """What a client from outside has sent."""
    status: int = 0
    """The status of the answer; 0: there is none."""
    seconds: float | None = None
    """How long it took; None: it still runs."""
    calls: list[ApiCall] = dataclasses.field(default_factory=list)
    tasks: list[AddedTask] = dataclasses.field(default_factory=list)
    """Those that the app has added."""
    lines: list[LogLine] = dataclasses.field(default_factory=list)
    failure: Failure | None = None
    """The last exception."""
    omitted_calls: int = 0
    omitted_tasks: int = 0
    omitted_lines: int = 0
    size: int = 0
    """Bytes of what is kept, about."""
