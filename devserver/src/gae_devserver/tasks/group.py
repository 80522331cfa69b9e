"""The group of all queues: the SDK's class with its bugs fixed."""

from collections.abc import Callable
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from google.appengine.api.taskqueue import taskqueue_stub
from google.appengine.runtime.apiproxy_errors import ApplicationError

from gae_devserver.clock import Clock
from gae_devserver.tasks.queues import CRON_QUEUE, Queue, random_task_name

_ERRORS = pb.TaskQueueServiceError


class Group(taskqueue_stub._Group):  # type: ignore[misc]
    """All queues of the app."""

    def __init__(self, make_queue: Callable[[str], Queue], clock: Clock) -> None:
        """Make a group without queues."""
        # without a parser the SDK does not read queue.yaml again with every call
        super().__init__(queue_yaml_parser=None, gettime=clock.now)
        self._make_queue = make_queue
        self._clock = clock

    def _ConstructQueue(self, queue_name: str, *_: Any) -> None:
        self._queues[queue_name] = self._make_queue(queue_name)

    def _ValidateQueueName(self, queue_name: bytes | str) -> Any:
        # the SDK makes this queue for anyone, but apps believe its tasks
        if queue_name in (CRON_QUEUE, CRON_QUEUE.encode()):
            return _ERRORS.UNKNOWN_QUEUE
        return super()._ValidateQueueName(queue_name)

    def _ChooseTaskName(self) -> str:
        # the SDK counts from task1 after every start, but repeated names would look
        # like second deliveries
        return random_task_name()

    def BulkAdd_Rpc(self, request: Any, response: Any) -> None:
        """Add tasks, and return the names of those that had none.

        The SDK remembers by `id()` which tasks had none, but the objects of protocol
        buffers are short-lived.
        """
        nameless = [add for add in request.add_request if not add.task_name]
        for add in nameless:
            add.task_name = self._ChooseTaskName().encode()
        super().BulkAdd_Rpc(request, response)
        names = {add.task_name for add in nameless}
        for add, result in zip(request.add_request, response.taskresult, strict=True):
            if result.result == _ERRORS.OK and add.task_name in names:
                result.chosen_task_name = add.task_name

    def UpdateQueue_Rpc(self, request: Any, response: Any) -> None:
        """Refuse the call: queues come from queue.yaml alone."""
        raise ApplicationError(
            _ERRORS.PERMISSION_DENIED, "queues can be changed only in queue.yaml"
        )

    def FetchQueueStats_Rpc(self, request: Any, response: Any) -> None:
        """Answer with real counts (the SDK draws random numbers), in the app's time."""
        super().FetchQueueStats_Rpc(request, response)
        now = self._clock.now()
        for name, stats in zip(request.queue_name, response.queuestats, strict=True):
            queue = self._queues.get(name.decode())
            if queue is None:
                continue
            if queue.Count():
                stats.oldest_eta_usec -= int(self._clock.offset * 1e6)
            info = stats.scanner_info
            info.executed_last_minute = queue.finished_since(now - 60)
            info.executed_last_hour = queue.finished_since(now - 3600)
            info.sampling_duration_seconds = 60.0
            info.requests_in_flight = len(queue.running)
            info.enforced_rate = queue.config.rate or 0.0
