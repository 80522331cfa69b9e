"""The first page: the tasks that wait, and what ran, on the server's clock."""

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from aiohttp import web

from gae_devserver.activity.activity import Activity
from gae_devserver.clock import Clock
from gae_devserver.console.frame.answers import show, wants_html
from gae_devserver.console.frame.formats import moment, segment
from gae_devserver.console.tasks import as_json, chart
from gae_devserver.console.tasks.attempt_json import describe_attempt
from gae_devserver.tasks.queues import CRON_QUEUE, Queue
from gae_devserver.tasks.stub import TaskQueue

_MOST = 100
"""Tasks in an answer, and executions."""


class TimelineRoutes:
    """Shows the tasks of all queues, the next one first."""

    def __init__(
        self,
        taskqueue: TaskQueue,
        clock: Clock,
        activity: Activity,
        last_advance: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        self._taskqueue = taskqueue
        self._clock = clock
        self._activity = activity
        self._last_advance = last_advance

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/", self._get_timeline)]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with the tasks and with what ran."""
        queues = self._taskqueue.queues().values()
        waiting = tuple(
            (queue.queue_name, queue.Count(), queue.paused, self._first_eta(queue))
            for queue in queues
        )
        attempts = self._activity.attempts
        ran = (len(attempts), attempts[-1].number) if attempts else (0, 0)
        return {"tasks": (waiting, ran, self._activity.revision)}

    @staticmethod
    def _first_eta(queue: Queue) -> int:
        first = queue.tasks_by_eta(1)
        return first[0].eta_usec if first else 0

    async def _get_timeline(self, request: web.Request) -> web.StreamResponse:
        queues = list(self._taskqueue.queues().values())
        first = [
            as_json.describe_task(queue, task, self._clock)
            | {"queue": queue.queue_name}
            for queue, task in itertools.islice(_by_eta(queues), _MOST)
        ]
        count = sum(queue.Count() for queue in queues)
        records = list(itertools.islice(reversed(self._activity.attempts), _MOST))
        ran = [describe_attempt(record) for record in records]
        data: dict[str, Any] = {
            "now": self._clock.now(),
            "offset": self._clock.offset,
            "tasks": first,
            "tasks_omitted": count - len(first),
            "attempts": ran,
            "attempts_omitted": len(self._activity.attempts) - len(ran),
            "last_advance": self._last_advance(),
        }
        if wants_html(request):
            data["chart"] = self._lay_out(queues, data)
        return show(request, data, "timeline.html")

    def _lay_out(self, queues: list[Queue], data: Mapping[str, Any]) -> chart.Chart:
        points: dict[str, list[chart.Point]] = {
            queue.queue_name: [] for queue in queues
        }
        for task in data["tasks"]:
            at = task["eta"] + data["offset"]
            path = f"/queues/{segment(task['queue'])}/tasks/{segment(task['name'])}"
            title = f"{task['function'] or task['url']}, due {moment(at)}"
            points[task["queue"]].append(chart.Point(at, "waiting", title, path))
        waiting = [
            chart.Waiting(
                queue.queue_name,
                queue.held,
                queue.Count(),
                queue.count_until,
                points[queue.queue_name],
            )
            for queue in queues
        ]
        waiting.append(chart.Waiting(CRON_QUEUE, False, 0, lambda moment: 0, []))
        attempts = [
            (
                one["queue"],
                chart.Point(
                    one["began"],
                    one["outcome"],
                    f"{one['function'] or one['url']}, {one['outcome']}, "
                    f"{moment(one['began'])}",
                    f"/attempts/{one['number']}",
                ),
            )
            for one in data["attempts"]
        ]
        return chart.lay_out(data["now"], waiting, attempts)


def _by_eta(queues: list[Queue]) -> Iterator[tuple[Queue, Any]]:
    """Yield the first tasks of all queues, with their queues."""
    each = ([(queue, task) for task in queue.tasks_by_eta(_MOST)] for queue in queues)
    return heapq.merge(*each, key=lambda pair: pair[1].eta_usec)
