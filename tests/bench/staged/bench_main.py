"""The contract's app with what only the benchmark enqueues."""

import contract_cases
from contract_main import app
from google.appengine.api import taskqueue
from google.appengine.ext import deferred

__all__ = ["app"]


def nothing() -> None:
    """Do nothing: what is left is the cost of a task."""


@contract_cases.case
def enqueue_no_ops(times: int) -> None:
    """Enqueue many tasks that do nothing, a hundred to a call."""
    payload = deferred.serialize(nothing)
    tasks = [
        taskqueue.Task(url="/_ah/queue/deferred", payload=payload) for _ in range(times)
    ]
    for first in range(0, times, taskqueue.MAX_TASKS_PER_ADD):
        taskqueue.Queue().add(tasks[first : first + taskqueue.MAX_TASKS_PER_ADD])
