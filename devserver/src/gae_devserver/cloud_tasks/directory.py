"""Finds the queues that requests name."""

from gae_devserver.cloud_tasks.names import Names
from gae_devserver.rpc.errors import FailedPreconditionError, NotFoundError
from gae_devserver.tasks.queues import Queue
from gae_devserver.tasks.stub import TaskQueue


class Directory:
    """The queues of a project, which are the same in each location."""

    def __init__(self, taskqueue: TaskQueue, project: str) -> None:
        """Find the queues of this project."""
        self._taskqueue = taskqueue
        self.names = Names(project)

    def get(self, identifier: str) -> Queue | None:
        """Return the queue with an id, which may be disabled, or None."""
        found = self._taskqueue.queues().get(identifier)
        return found or self._taskqueue.disabled_queues().get(identifier)

    def is_disabled(self, queue: Queue) -> bool:
        """Return whether a queue is no longer in queue.yaml."""
        return self._taskqueue.disabled_queues().get(queue.queue_name) is queue

    def queue(self, name: str, field: str) -> Queue:
        """Return the queue that a field names.

        Raises:
            RpcError: there is none.
        """
        _, identifier = self.names.queue(name, field)
        queue = self.get(identifier)
        if queue is None:
            raise NotFoundError(
                f"The queue {name} does not exist. Create it, or add it to queue.yaml "
                "(ExecutorServiceError::UNKNOWN_QUEUE)."
            )
        return queue

    def push_queue(self, name: str, field: str) -> Queue:
        """Return the queue that a field names.

        Raises:
            RpcError: there is none, or it is a pull queue.
        """
        queue = self.queue(name, field)
        if not queue.is_push:
            raise FailedPreconditionError(
                f"The queue {name} is a pull queue, which Cloud Tasks does not have "
                "(ExecutorServiceError::INVALID_QUEUE_MODE)."
            )
        return queue
