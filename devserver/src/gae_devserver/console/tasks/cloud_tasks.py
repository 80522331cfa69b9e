"""The route for the queues as Cloud Tasks sees them, and the page on it."""

from typing import Any

from aiohttp import web
from google.protobuf.json_format import MessageToDict

from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks import messages
from gae_devserver.cloud_tasks.queues import describe
from gae_devserver.cloud_tasks.tasks import seconds
from gae_devserver.console.frame.answers import show
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue


class CloudTasksRoutes:
    """Shows the push queues of queue.yaml, and those that the API has made."""

    def __init__(self, taskqueue: TaskQueue, clock: Clock) -> None:
        self._taskqueue = taskqueue
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/cloud_tasks", self._get_queues)]

    async def _get_queues(self, request: web.Request) -> web.StreamResponse:
        disabled = self._taskqueue.disabled_queues()
        queues = [*self._taskqueue.queues().values(), *disabled.values()]
        described = [
            self._describe(queue, is_disabled=queue.queue_name in disabled)
            async for queue in in_turns(queues)
            if queue.is_push
        ]
        return show(request, {"queues": described}, "cloud_tasks.html")

    def _describe(self, queue: Queue, *, is_disabled: bool) -> dict[str, Any]:
        shown, name, clock = messages.Queue(), queue.queue_name, self._clock
        describe(queue, shown, name=name, is_disabled=is_disabled, offset=clock.offset)
        rates, retry = shown.rate_limits, shown.retry_config
        return {
            "name": name,
            "made_by": "API" if queue.config.made_by_api else "queue.yaml",
            "paused": bool(queue.paused),
            "state": messages.Queue.State.Name(shown.state),
            "rate_limits": {
                "max_dispatches_per_second": rates.max_dispatches_per_second,
                "max_burst_size": rates.max_burst_size,
                "max_concurrent_dispatches": rates.max_concurrent_dispatches,
            },
            "retry_config": {
                "max_attempts": retry.max_attempts,
                "max_retry_duration": seconds(retry.max_retry_duration),
                "min_backoff": seconds(retry.min_backoff),
                "max_backoff": seconds(retry.max_backoff),
                "max_doublings": retry.max_doublings,
            },
            "http_target": _as_dict(shown, "http_target"),
            "app_engine_routing_override": _as_dict(
                shown, "app_engine_routing_override"
            ),
            "purge_time": queue.purged,
            "task_count": queue.Count(),
            "running": len(queue.running),
            "executed_last_hour": queue.finished_since(clock.now() - 3600),
            "dropped": queue.dropped,
        }


def _as_dict(queue: Any, field: str) -> dict[str, Any] | None:
    """Return the settings in a field of a queue as JSON; None: it has none."""
    if not queue.HasField(field):
        return None
    return MessageToDict(getattr(queue, field), preserving_proto_field_name=True)
