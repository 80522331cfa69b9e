"""The routes for the executions of tasks, and the pages on them."""

import dataclasses
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, get_args

from aiohttp import web

from gae_devserver.activity.activity import Activity
from gae_devserver.activity.records import Outcome, Record
from gae_devserver.clock import Clock
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.console.frame.downloads import attachment
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.console.tasks import as_json
from gae_devserver.console.tasks.attempt_json import (
    attempt_of,
    describe_adder,
    describe_attempt,
    describe_line,
)
from gae_devserver.console.tasks.calls import Calls
from gae_devserver.console.tasks.payloads import describe_payload
from gae_devserver.tasks.attempts import as_new
from gae_devserver.tasks.queues import CRON_QUEUE, random_task_name
from gae_devserver.tasks.stub import TaskQueue

_PAGE = 100
_OUTCOMES = get_args(Outcome)


class AttemptRoutes:
    """Shows the last executions, and adds their tasks once more."""

    def __init__(
        self, taskqueue: TaskQueue, clock: Clock, activity: Activity, calls: Calls
    ) -> None:
        self._taskqueue = taskqueue
        self._clock = clock
        self._activity = activity
        self._calls = calls

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        attempt = "/attempts/{number:[0-9]{1,15}}"
        return [
            web.get("/attempts", self._get_attempts),
            web.get(attempt, self._get_attempt),
            web.get(attempt + "/payload", self._get_payload),
            web.post(attempt + "/enqueue", self._enqueue),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with each execution and its log lines."""
        return {"attempts": self._activity.revision}

    async def _get_attempts(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        limit = bodies.limit_in(query, _PAGE)
        # numbers begin with 1, and the first page with the newest
        (before,) = bodies.cursor_in(query, "0")
        outcome = query.get("outcome", "")
        if outcome not in ("", *_OUTCOMES):
            text = f"outcome is {outcome!r}, but must be one of {', '.join(_OUTCOMES)}."
            raise web.HTTPBadRequest(text=text)
        found: list[dict[str, Any]] = []
        async for record in in_turns(self._newest(before)):
            attempt = attempt_of(record)
            if outcome not in ("", attempt.outcome):
                continue
            if query.get("queue", "") not in ("", attempt.queue):
                continue
            described = describe_attempt(record)
            if _has(record, described, query.get("text", "").strip().lower()):
                found.append(described)
                if len(found) > limit:
                    break
        cursor = found[limit - 1]["number"] if len(found) > limit else None
        data: dict[str, Any] = {
            "attempts": found[:limit],
            "cursor": None if cursor is None else str(cursor),
        }
        if wants_html(request):
            kept = self._activity.attempts
            data["kept"] = len(kept)
            data["queues"] = sorted({attempt_of(record).queue for record in kept})
            data["outcomes"] = _OUTCOMES
        return show(request, data, "attempts.html")

    def _newest(self, before: int) -> Iterator[Record]:
        for record in reversed([*self._activity.attempts]):
            if not before or record.number < before:
                yield record

    def _find(self, request: web.Request) -> Record:
        number = int(request.match_info["number"])
        record = self._activity.find(number)
        if record is None or record.attempt is None:
            raise web.HTTPNotFound(
                text=f"There is no attempt {number}. The server keeps the last ones, "
                "until it is reset or ends."
            )
        return record

    async def _get_attempt(self, request: web.Request) -> web.StreamResponse:
        record = self._find(request)
        attempt, failure = attempt_of(record), record.failure
        data: dict[str, Any] = {
            **describe_attempt(record),
            "lines": [describe_line(record, line) for line in record.lines],
            "omitted_lines": record.omitted_lines,
            "traceback": None if failure is None else failure.traceback,
            "full_traceback": None if failure is None else failure.full_traceback,
            "added_by": describe_adder(self._activity, attempt.queue, attempt.name),
            "added_tasks": [dataclasses.asdict(task) for task in record.tasks],
            "omitted_tasks": record.omitted_tasks,
            "calls": len(record.calls) + record.omitted_calls,
            "cannot_enqueue": self._why_not(record),
            "headers": [],
            "payload": None,
            "content": None,
            "size": None,
        }
        if (task := attempt.task) is not None:
            data |= as_json.describe_contents(task, self._calls)
            data["size"] = len(task.body)
            data["content"] = describe_payload(task.body, data["headers"])
        queue = self._taskqueue.queues().get(attempt.queue)
        data["waits"] = queue is not None and queue.find(attempt.name) is not None
        return show(request, data, "attempt.html")

    async def _get_payload(self, request: web.Request) -> web.Response:
        record = self._find(request)
        attempt = attempt_of(record)
        if attempt.task is None:
            raise web.HTTPNotFound(text="The payload of this task is no longer kept.")
        body = attempt.task.body
        return attachment(body, len(body), f"{attempt.name}.bin")

    def _why_not(self, record: Record) -> str | None:
        """Return why the task of an execution cannot be added again, or None."""
        attempt = attempt_of(record)
        if attempt.outcome == "running":
            return "The task still runs."
        if attempt.queue == CRON_QUEUE:
            return "A job of cron.yaml has no task of its own. Run the job instead."
        if attempt.task is None:
            return "The payload of this task is no longer kept."
        if attempt.queue not in self._taskqueue.queues():
            return f"There is no queue {attempt.queue!r} any longer."
        if self._calls.is_lost(attempt.task):
            return (
                "The task has only the key of its call, which was too large for a task "
                "and is deleted when it has run."
            )
        return None

    async def _enqueue(self, request: web.Request) -> web.Response:
        record = self._find(request)
        if (reason := self._why_not(record)) is not None:
            raise web.HTTPConflict(text=reason)
        attempt, name = attempt_of(record), random_task_name()
        queue = self._taskqueue.queues()[attempt.queue]
        queue.add(as_new(attempt.task, name, self._clock.now()))
        url = f"/queues/{attempt.queue}/tasks/{name}"
        return web.json_response({"queue": attempt.queue, "name": name, "url": url})


def _has(record: Record, described: Mapping[str, Any], text: str) -> bool:
    """Return whether an execution has a text, which is in lower case."""
    if not text:
        return True
    fields = [described[name] for name in ("name", "function", "url", "reason")]
    if record.failure is not None:
        fields += [record.failure.type, record.failure.message, record.failure.file]
    fields += [line.text for line in record.lines]
    return any(text in field.lower() for field in fields if field)
