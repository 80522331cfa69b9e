"""The log lines about executions of tasks."""

import logging
import re

from gae_devserver.activity.records import Attempt, Record
from gae_devserver.tasks.function_names import function_name
from gae_devserver.terminal import printable, request_fields, summary

logger = logging.getLogger("gae_devserver.task")

_DEFERRED_URL = "/_ah/queue/deferred"
# the first characters of a name without a meaning, such as the 20 digits of the SDK
_UNREADABLE = re.compile(
    r"([0-9]{4})[0-9]{8,}|((?=[a-f]*[0-9])[0-9a-f]{4})[0-9a-f]{12,}"
)
_LEVELS = {"failed": logging.WARNING, "dropped": logging.WARNING}


class TaskLog:
    """Logs what becomes of tasks; with several services, also which one got it."""

    def __init__(self, *, several_services: bool) -> None:
        """Log to the server's log."""
        self._several_services = several_services

    def started(self, record: Record, attempt: Attempt) -> None:
        """Log the beginning of an execution."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s, attempt %d started",
                self._task(record, attempt, _function(attempt)),
                attempt.number,
            )

    def not_sent(self, record: Record, attempt: Attempt) -> None:
        """Log that the app does not run."""
        app = f"the service {record.service}" if self._several_services else "the app"
        name = short_name(attempt.name)
        text = "task %s was not sent: %s is not running"
        logger.info(text, name, app, extra={"ends": True})

    def ended(self, record: Record, attempt: Attempt) -> None:
        """Log the end of an execution, with the exception that the app has raised."""
        level = _LEVELS.get(attempt.outcome, logging.INFO)
        failure = record.failure
        if not logger.isEnabledFor(level):
            return
        what = f"{attempt.reason}{_advice(record, attempt)}"
        # without an answer, an exception need not be the reason
        if failure is not None and record.status and attempt.outcome != "done":
            what = summary(failure)
        end = ""
        if attempt.outcome == "failed" and attempt.next_in is not None:
            end = f"; attempt {attempt.number}, next in {attempt.next_in:.1f} s"
        elif attempt.outcome == "dropped" and record.status in range(200, 300):
            end = "; dropped, because it fails for good"
        elif attempt.outcome == "dropped":
            end = f"; dropped after attempt {attempt.number}"
        elif attempt.outcome == "deleted":
            end = "; it was deleted while it ran"
        function = _function(attempt)  # which takes time to read
        task = {
            "queue": attempt.queue,
            "name": attempt.name,
            "function": function,
            "attempt": attempt.number,
            "outcome": attempt.outcome,
            "next_in": attempt.next_in,
        }
        logger.log(
            level,
            "%s: %s%s",
            self._task(record, attempt, function),
            what,
            end,
            extra={"ends": True, "fields": {**request_fields(record), "task": task}},
        )

    def _task(self, record: Record, attempt: Attempt, function: str | None) -> str:
        service = record.service if self._several_services else ""
        label = f"[{service}] " if service else ""
        what = function or f"{record.method} {printable(record.target)}"
        return f"{label}task {short_name(attempt.name)} {what.strip()}".rstrip()


def short_name(name: str) -> str:
    """Return the name of a task as the log has it; at the level debug it is whole."""
    if logger.isEnabledFor(logging.DEBUG):
        return name
    return _UNREADABLE.sub(lambda found: f"{found[1] or found[2]}…", name)


def _function(attempt: Attempt) -> str | None:
    return None if attempt.task is None else function_name(attempt.task.body)


def _advice(record: Record, attempt: Attempt) -> str:
    """Return why the app does not take a task, if no view of it has got it."""
    if record.status not in (404, 405) or record.calls:
        return ""
    if any(not line.level for line in record.lines):
        return ""  # a view has printed it; a framework logs what it finds no route for
    if not record.target.startswith("/"):
        return ""  # an HTTP target need not be this app
    path = printable(record.target.partition("?")[0])
    if path == _DEFERRED_URL:
        needed = "wrap_wsgi_app(..., use_deferred=True)"
        return f": the app needs {needed}, or a route for {path}"
    if record.status == 405:
        return f": the route of the app for {path} does not take {record.method}"
    # the view may have answered so
    return f": no route of the app seems to take {path}"
