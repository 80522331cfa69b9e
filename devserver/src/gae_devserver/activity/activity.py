"""Keeps the last requests and executions of tasks, within limits."""

import collections
import contextvars
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence

from gae_devserver.activity.records import (
    AddedTask,
    ApiCall,
    Attempt,
    Failure,
    Kind,
    LogLine,
    Record,
)

current: contextvars.ContextVar[Record | None] = contextvars.ContextVar(
    "current", default=None
)
"""The record of what the running task of the event loop handles."""
_caller: contextvars.ContextVar[Record | None] = contextvars.ContextVar(
    "caller", default=None
)
"""The record of the request whose API call the running task carries out."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much is kept."""

    records: int = 1000
    """Requests, and as many executions of tasks."""
    calls: int = 200
    """API calls of a record."""
    tasks: int = 200
    """Tasks that a record has added."""
    call_bytes: int = 2**11
    """The request of an API call; a larger one is not kept."""
    lines: int = 500
    """Log lines of a record."""
    record_bytes: int = 2**19
    """Log lines of a record, with what Python needs for them."""
    total_bytes: int = 2**25
    """Log lines, payloads, headers and API calls of all records."""


DEFAULT_LIMITS = Limits()


_CALL = 250
"""The bytes of an API call without its request."""
_LINE = 100
"""The bytes of a log line without its texts."""
_TASK = 250
"""The bytes of an added task without its texts."""
_ERROR = 500
"""Characters of an API call's error."""


class Activity:
    """Records what the server and the app do; in memory only."""

    def __init__(
        self, now: Callable[[], float] = time.time, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """Begin without records; `now` is the server's clock."""
        self._now = now
        self._limits = limits
        self._numbers = 0
        self._size = 0
        self._by_number: dict[int, Record] = {}
        self._by_ticket: dict[str, Record] = {}
        self._by_task: dict[tuple[str, str], Record] = {}
        """The records that have added tasks, by the queue and the name of each."""
        self._tickets: dict[int, list[str]] = {}
        """The tickets of each record, to forget them with it."""
        self.requests: collections.deque[Record] = collections.deque()
        """The last requests, the oldest first."""
        self.attempts: collections.deque[Record] = collections.deque()
        """The last executions of tasks, the oldest first."""
        self.revision = 0
        """Grows with each change."""

    @property
    def last_number(self) -> int:
        """The number of the last record, or 0."""
        return self._numbers

    def begin(
        self,
        kind: Kind,
        method: str,
        target: str,
        service: str = "",
        attempt: Attempt | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Record:
        """Return the record of what begins now."""
        self._numbers += 1
        record = Record(
            self._numbers,
            kind,
            method,
            target,
            service,
            time.time(),
            self._now(),
            time.perf_counter(),
            attempt,
            headers,
        )
        records = self.requests if attempt is None else self.attempts
        records.append(record)
        self._by_number[record.number] = record
        size = len(target) + sum(len(name) + len(value) for name, value in headers)
        if attempt is not None and attempt.task is not None:
            size += len(attempt.task.body)
        self._grow(record, size)
        if len(records) > self._limits.records:
            self._forget(records)
        return record

    def link(self, ticket: str, record: Record) -> None:
        """Let `of` find a record by a ticket of the app's request."""
        if record.number in self._by_number:
            self._by_ticket[ticket] = record
            self._tickets.setdefault(record.number, []).append(ticket)

    def of(self, ticket: str | None) -> Record | None:
        """Return the record of a ticket, also after the request has ended."""
        return None if ticket is None else self._by_ticket.get(ticket)

    def find(self, number: int) -> Record | None:
        """Return a record by its number; None: it is no longer kept."""
        return self._by_number.get(number)

    def end(self, record: Record, status: int) -> None:
        """Note that something has ended, with the status of the answer or 0."""
        record.status = status
        record.seconds = time.perf_counter() - record.started
        self.revision += 1

    def discard(self, record: Record) -> None:
        """Forget a record of something that did not happen in the end."""
        records = self.requests if record.attempt is None else self.attempts
        if record.number in self._by_number:
            records.remove(record)
            self._drop(record)

    def begin_call(self, ticket: str | None) -> None:
        """Note for which request the running task carries out an API call."""
        _caller.set(self.of(ticket))

    def add_task(self, queue: str, name: str, what: str) -> None:
        """Add a task to the record of the request whose API call adds it, if any."""
        record = _caller.get()
        if record is None or record.number not in self._by_number:
            return
        if len(record.tasks) >= self._limits.tasks:
            record.omitted_tasks += 1
            return
        task = AddedTask(queue, name, what[:_ERROR])
        record.tasks.append(task)
        self._by_task[queue, name] = record
        self._grow(record, _TASK + len(queue) + len(name) + len(task.what))

    def adder(self, queue: str, name: str) -> Record | None:
        """Return the record of the request that has added a task; None: not known."""
        return self._by_task.get((queue, name))

    def add_call(
        self,
        ticket: str | None,
        name: str,
        request: bytes,
        began: float,
        error: str,
    ) -> None:
        """Add an API call that ends now to the record of a ticket, if there is one.

        It began at a time of `time.perf_counter`, and has failed with `error` unless
        that is empty.
        """
        _caller.set(None)
        record = self.of(ticket)
        if record is None:
            return
        if len(record.calls) >= self._limits.calls:
            record.omitted_calls += 1
            self.revision += 1
            return
        took = time.perf_counter() - began
        kept = request if len(request) <= self._limits.call_bytes else b""
        call = ApiCall(name, began - record.started, took, error[:_ERROR], kept)
        record.calls.append(call)
        self._grow(record, _CALL + len(kept) + len(call.error))

    def add_line(self, record: Record, line: LogLine) -> None:
        """Add a log line, unless the record has too many."""
        limits = self._limits
        size = _LINE + _size(line.text, line.level, line.logger)
        if len(record.lines) >= limits.lines or (
            record.size + size > limits.record_bytes
        ):
            record.omitted_lines += 1
            self.revision += 1
        else:
            record.lines.append(line)
            self._grow(record, size)

    def set_failure(self, record: Record, failure: Failure) -> None:
        """Note an exception; it replaces an earlier one."""
        size = _size_of(failure) - _size_of(record.failure)
        record.failure = failure
        self._grow(record, size)

    def clear(self) -> None:
        """Forget everything that has ended."""
        for records in (self.requests, self.attempts):
            for record in [one for one in records if one.seconds is not None]:
                self.discard(record)

    def _grow(self, record: Record, size: int) -> None:
        self.revision += 1
        if record.number not in self._by_number:
            return
        record.size += size
        self._size += size
        while self._size > self._limits.total_bytes and len(self._by_number) > 1:
            oldest = [records for records in (self.requests, self.attempts) if records]
            self._forget(min(oldest, key=lambda records: records[0].number))

    def _forget(self, records: collections.deque[Record]) -> None:
        self._drop(records.popleft())

    def _drop(self, record: Record) -> None:
        del self._by_number[record.number]
        for ticket in self._tickets.pop(record.number, ()):
            del self._by_ticket[ticket]
        for task in record.tasks:
            if self._by_task.get((task.queue, task.name)) is record:
                del self._by_task[task.queue, task.name]
        self._size -= record.size
        self.revision += 1


def _size(*texts: str) -> int:
    """Return the bytes that texts take: up to four for each character."""
    return sum(map(sys.getsizeof, texts))


def _size_of(failure: Failure | None) -> int:
    if failure is None:
        return 0
    return _size(failure.message, failure.traceback, failure.full_traceback)
