"""Carries out the RPCs of queues."""

import re
from typing import Any

from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks import messages, queues
from gae_devserver.cloud_tasks.directory import Directory
from gae_devserver.cloud_tasks.paging import page, start_of
from gae_devserver.rpc.errors import AlreadyExistsError, UnimplementedError, check
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue

_MAX_PAGE = 9800
_STATE = re.compile(r'\s*state\s*[:=]\s*"?([A-Z]+)"?\s*')


class QueueRpcs:
    """The RPCs of queues, as version 2 of the API has them."""

    def __init__(
        self, directory: Directory, taskqueue: TaskQueue, clock: Clock
    ) -> None:
        """Serve the queues of the directory, which are those of `taskqueue`."""
        self._directory = directory
        self._taskqueue = taskqueue
        self._clock = clock

    async def create_queue(self, request: Any, response: Any) -> None:
        """CreateQueue."""
        names = self._directory.names
        parent = names.location(request.parent, "parent")
        location, identifier = names.queue(request.queue.name, "queue.name")
        check(
            location == parent,
            f"queue.name is {request.queue.name!r}, which is not in the location "
            f"{parent.name!r}.",
        )
        if self._directory.get(identifier) is not None:
            raise AlreadyExistsError(f"The queue {request.queue.name} exists.")
        queue = self._create(identifier, request.queue)
        self._describe(queue, response, request.queue.name)

    def _create(self, identifier: str, asked: Any) -> Queue:
        settings = queues.settings_of(asked)
        return self._taskqueue.create(queues.config_of(identifier, settings))

    async def get_queue(self, request: Any, response: Any) -> None:
        """GetQueue."""
        queue = self._directory.queue(request.name, "name")
        self._describe(queue, response, request.name)

    async def list_queues(self, request: Any, response: Any) -> None:
        """ListQueues, in the order of their names."""
        parent = self._directory.names.location(request.parent, "parent")
        size, first = page(request, _MAX_PAGE)
        state = _state_in(request.filter)
        every = self._taskqueue.queues() | self._taskqueue.disabled_queues()
        names = sorted(
            name for name, queue in every.items() if name >= first and queue.is_push
        )
        for name in names[:size]:
            described = messages.Queue()
            self._describe(every[name], described, parent.queue(name))
            if state in (None, described.state):
                response.queues.add().CopyFrom(described)
        if len(names) > size:
            response.next_page_token = start_of(names[size])

    async def update_queue(self, request: Any, response: Any) -> None:
        """UpdateQueue, which creates a queue that is missing."""
        name = request.queue.name
        _, identifier = self._directory.names.queue(name, "queue.name")
        queue = self._directory.get(identifier)
        if queue is None:
            asked = queues.merge(messages.Queue(), request.queue, request.update_mask)
            queue = self._create(identifier, asked)
        else:
            self._directory.push_queue(name, "queue.name")
            current = messages.Queue()
            self._describe(queue, current, name)
            merged = queues.merge(current, request.queue, request.update_mask)
            settings = queues.settings_of(merged)
            if queue.held:
                # the API has no rate of 0, so the queue would run after the update
                queue.set_paused(True)
            self._taskqueue.change(queue, queues.config_of(identifier, settings))
        self._describe(queue, response, name)

    async def delete_queue(self, request: Any, response: Any) -> None:
        """DeleteQueue, with its tasks."""
        queue = self._directory.push_queue(request.name, "name")
        self._taskqueue.delete(queue.queue_name)

    async def purge_queue(self, request: Any, response: Any) -> None:
        """PurgeQueue."""
        queue = self._directory.queue(request.name, "name")
        queue.PurgeQueue()
        self._describe(queue, response, request.name)

    async def pause_queue(self, request: Any, response: Any) -> None:
        """PauseQueue."""
        queue = self._directory.queue(request.name, "name")
        queue.set_paused(True)
        self._describe(queue, response, request.name)

    async def resume_queue(self, request: Any, response: Any) -> None:
        """ResumeQueue, which enables a disabled queue too."""
        queue = self._directory.queue(request.name, "name")
        queue = self._taskqueue.resume(queue.queue_name)
        self._describe(queue, response, request.name)

    def fill_statistics(self, queue: Queue, into: Any) -> None:
        """Fill the QueueStats of a queue."""
        clock = self._clock
        into.tasks_count = queue.Count()
        if (oldest := queue.OldestTask()) is not None:
            usec = oldest.eta_usec - int(clock.offset * 1e6)
            into.oldest_estimated_arrival_time.FromMicroseconds(usec)
        into.executed_last_minute_count = queue.finished_since(clock.now() - 60)
        into.concurrent_dispatches_count = len(queue.running)
        into.effective_execution_rate = queue.config.rate or 0.0

    def _describe(self, queue: Queue, into: Any, name: str) -> None:
        queues.describe(
            queue,
            into,
            name=name,
            is_disabled=self._directory.is_disabled(queue),
            offset=self._clock.offset,
        )


def _state_in(text: str) -> int | None:
    """Return the state that a filter of queues asks for; None: any."""
    if not text:
        return None
    match = _STATE.fullmatch(text)
    states = dict(messages.Queue.State.items())
    if match is None or match[1] not in states:
        raise UnimplementedError(
            f"the dev server does not implement the filter {text!r}. It knows filters "
            "such as 'state: PAUSED'."
        )
    return states[match[1]]
