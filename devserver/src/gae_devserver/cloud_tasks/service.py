"""The RPCs of google.cloud.tasks, on the queues of the task queue's API."""

from gae_devserver.clock import Clock
from gae_devserver.cloud_tasks.directory import Directory
from gae_devserver.cloud_tasks.operations import Operations
from gae_devserver.cloud_tasks.queue_rpcs import QueueRpcs
from gae_devserver.cloud_tasks.task_rpcs import RunNow, TaskRpcs
from gae_devserver.tasks.stub import TaskQueue


class CloudTasks:
    """The RPCs for the queues of one project and app."""

    def __init__(
        self, taskqueue: TaskQueue, clock: Clock, project: str, run_now: RunNow
    ) -> None:
        """Serve the queues of `taskqueue`."""
        self.directory = Directory(taskqueue, project)
        self.tasks = TaskRpcs(self.directory, clock, run_now)
        self.queues = QueueRpcs(self.directory, taskqueue, clock)
        self.operations = Operations()

    def clear(self) -> None:
        """Forget what does not belong to a queue: the operations."""
        self.operations.clear()
