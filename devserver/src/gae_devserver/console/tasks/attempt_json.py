"""How the State API shows an execution of a task in JSON."""

from typing import Any

from gae_devserver.activity.records import Attempt, Record
from gae_devserver.tasks.function_names import function_name


def attempt_of(record: Record) -> Attempt:
    """Return what a record of an execution has beyond a request's."""
    assert record.attempt is not None
    return record.attempt


def describe_attempt(record: Record) -> dict[str, Any]:
    """Return an execution without its log lines, headers and payload."""
    attempt, failure = attempt_of(record), record.failure
    task = attempt.task
    return {
        "number": record.number,
        "queue": attempt.queue,
        "name": attempt.name,
        "attempt": attempt.number,
        "function": None if task is None else function_name(task.body),
        "method": record.method,
        "url": record.target,
        "service": record.service,
        "outcome": attempt.outcome,
        "status": record.status,
        "reason": attempt.reason,
        "next_in": attempt.next_in,
        "eta": attempt.eta,
        "began": record.clock,
        "seconds": record.seconds,
        "exception": None if failure is None else describe_failure(record),
    }


def describe_failure(record: Record) -> dict[str, Any] | None:
    """Return the exception of a record without its traceback, or None."""
    failure = record.failure
    if failure is None:
        return None
    return {
        "type": failure.type,
        "message": failure.message,
        "function": failure.function,
        "file": failure.file,
        "line": failure.line,
    }
