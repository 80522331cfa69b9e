"""How the State API shows an execution of a task in JSON."""

import dataclasses
from typing import Any

from gae_devserver.activity.activity import Activity
from gae_devserver.activity.records import Attempt, Failure, LogLine, Record
from gae_devserver.tasks.function_names import function_name


def attempt_of(record: Record) -> Attempt:
    """Return what a record of an execution has beyond a request's."""
    assert record.attempt is not None
    return record.attempt


def describe_attempt(record: Record) -> dict[str, Any]:
    """Return an execution without its log lines, headers and payload."""
    attempt = attempt_of(record)
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
        "exception": _describe_failure(record.failure),
    }


def describe_adder(activity: Activity, queue: str, name: str) -> dict[str, Any] | None:
    """Return the request, or the attempt, that has added a task; None: not known."""
    if (record := activity.adder(queue, name)) is None:
        return None
    task = None if record.attempt is None else record.attempt.task
    return {
        "number": record.number,
        "method": record.method,
        "target": record.target,
        "function": None if task is None else function_name(task.body),
    }


def describe_line(record: Record, line: LogLine) -> dict[str, Any]:
    """Return a log line of a record."""
    return {**dataclasses.asdict(line), "after": line.at - record.began}


def _describe_failure(failure: Failure | None) -> dict[str, Any] | None:
    """Return an exception without its traceback."""
    if failure is None:
        return None
    return {
        "type": failure.type,
        "message": failure.message,
        "function": failure.function,
        "file": failure.file,
        "line": failure.line,
    }
