"""The first page: the tasks that wait, and what ran, on the server's clock."""

from collections.abc import Hashable, Mapping
from typing import Any

from aiohttp import web

from gae_devserver.activity.activity import Activity
from gae_devserver.clock import Clock
from gae_devserver.console.answers import show
from gae_devserver.tasks.stub import TaskQueue


class TimelineRoutes:
    """Shows the tasks of all queues, the next one first."""

    def __init__(self, taskqueue: TaskQueue, clock: Clock, activity: Activity) -> None:
        self._taskqueue = taskqueue
        self._clock = clock
        self._activity = activity

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/", self._get_timeline)]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes with the tasks and with what ran."""
        queues = self._taskqueue.queues().values()
        waiting = tuple(
            (queue.queue_name, queue.Count(), queue.paused) for queue in queues
        )
        return {"tasks": (waiting, self._activity.revision)}

    async def _get_timeline(self, request: web.Request) -> web.StreamResponse:
        data: dict[str, Any] = {
            "now": self._clock.now(),
            "offset": self._clock.offset,
            "tasks": [],
            "attempts": [],
        }
        return show(request, data, "timeline.html")
