"""The SDK's queue does the same on the indexes that replace its own."""

import datetime

import pytest
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from gae_devserver.tasks import task_index
from gae_devserver.tasks.indexed_queue import IndexedQueue
from tests.helpers.calls import add_request

NOW = datetime.datetime.fromtimestamp(0, datetime.UTC)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some entries be enough for many blocks."""
    monkeypatch.setattr(task_index, "_LIMIT", 4)


def test_the_queue_of_the_sdk_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own check finds the indexes in order after every kind of change."""
    in_order = staticmethod(lambda index: list(index) == sorted(index))
    monkeypatch.setattr(IndexedQueue, "_IsInOrder", in_order)
    queue = IndexedQueue("default")
    for number in range(50):
        name = f"task-{number * 7 % 50}"
        message = add_request(name, due_in=number * 11 % 50, now=0.0)
        if number % 3:
            message.tag = b"t"
        queue.Add(message, NOW)
        queue.VerifyIndexes()
    for number in range(0, 50, 2):
        (task,) = queue.Lookup(1, name=f"task-{number}")
        if number % 4:
            queue.PostponeTask(task, task.eta_usec + 10**7)
        else:
            assert queue.Delete(task.task_name) == pb.TaskQueueServiceError.OK
        queue.VerifyIndexes()
    assert queue.Count() == 37
    tasks = queue._GetTasks()
    assert [task.eta_usec for task in tasks] == sorted(t.eta_usec for t in tasks)
    assert queue.OldestTask() is tasks[0]
    assert queue.Oldest() == tasks[0].eta_usec
    assert queue.Delete("task-0") == pb.TaskQueueServiceError.TOMBSTONED_TASK
    assert queue.Delete("other") == pb.TaskQueueServiceError.UNKNOWN_TASK

    queue.PurgeQueue()
    assert (queue.Count(), queue.Oldest(), queue.OldestTask()) == (0, None, None)
    queue.VerifyIndexes()


@pytest.mark.parametrize("rows", [-1, 0])
def test_no_rows(rows: int) -> None:
    """Who asks for none gets none."""
    queue = IndexedQueue("default")
    queue.Add(add_request("a"), NOW)
    assert queue.Lookup(rows, name="") == []
