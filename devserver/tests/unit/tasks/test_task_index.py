"""The index of a queue's tasks: in order, and quick among many."""

import bisect
import datetime

import pytest
from gae_devserver.tasks import indexed_queue as task_index
from gae_devserver.tasks.indexed_queue import IndexedQueue
from gae_devserver.tasks.task_index import Entry, TaskIndex
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.devserver.calls import add_request

NOW = datetime.datetime.fromtimestamp(0, datetime.UTC)

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=300)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let some entries be enough for many blocks."""
    monkeypatch.setattr(task_index, "_LIMIT", 4)


@given(changes=CHANGES, start=st.integers(-1, 100), end=st.integers(-1, 100))
def test_it_is_a_sorted_list(
    changes: list[tuple[bool, int]], start: int, end: int
) -> None:
    """Whatever comes and goes, it has what a sorted list would have."""
    index, expected = TaskIndex(), list[Entry]()
    for add, number in changes:
        entry = (number, "task")
        if add and entry not in expected:
            index.add(entry)
            bisect.insort(expected, entry)
        place = index.find(entry)
        if not add and place is not None and index[place] == entry:
            assert index.pop(place) == entry
            expected.remove(entry)
    assert list(index) == expected
    assert len(index) == len(expected)
    assert [e for e in expected if e >= (start,)] == list(index.between((start,)))
    assert list(index.between((start,), (end,))) == [
        e for e in expected if (start,) <= e < (end,)
    ]
    assert all(index._blocks)


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
