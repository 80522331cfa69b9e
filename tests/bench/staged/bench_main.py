"""The contract's app with a case that only the benchmark uses."""

import contract_cases
from contract_main import app
from google.appengine.api import taskqueue
from google.appengine.ext import deferred

__all__ = ["app"]


def nothing() -> None:
    """Do nothing, so that only the cost of a task is measured."""


@contract_cases.case
def enqueue_no_ops(times: int) -> None:
    """Enqueue many tasks that do nothing, a hundred to a call."""
    payload = deferred.serialize(nothing)
    tasks = [
        taskqueue.Task(url="/_ah/queue/deferred", payload=payload) for _ in range(times)
    ]
    for first in range(0, times, taskqueue.MAX_TASKS_PER_ADD):
        taskqueue.Queue().add(tasks[first : first + taskqueue.MAX_TASKS_PER_ADD])
