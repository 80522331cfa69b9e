"""The order of a queue's tasks, compared with that of a plain list."""

import datetime
from typing import Any

from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.tasks.changes import Changes
from gae_devserver.tasks.queues import Queue
from tests.helpers.calls import add_request

NOW = datetime.datetime.fromtimestamp(0, datetime.UTC)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        st.integers(1, 3),
        st.sampled_from("xy"),
        st.booleans(),
    )
)


@given(changes=CHANGES, rows=st.integers(-1, 4), now_usec=st.integers(0, 9))
def test_tasks_are_ordered_by_eta_and_then_by_arrival(
    changes: list[tuple[str, int, str, bool]], rows: int, now_usec: int
) -> None:
    """Adds, postponements and deletions keep the order for queries and leases.

    The tasks of each service keep it too, also when the queue gets a target.
    """

    def service_of(target: str | None, task: Any) -> str:
        return target or task.tag.decode()

    queue = Queue(
        "q",
        gettime=lambda: now_usec / 1e6,
        storage=None,
        changed=Changes[Queue](),
        service_of=service_of,
    )
    model: dict[str, tuple[int, str]] = {}
    for name, usec, tag, postpones in changes:
        if name not in model:
            # a name is free again, as after a reset
            queue.task_name_archive.clear()
            queue.Add(add_request(name, now=usec / 1e6, tag=tag.encode()), NOW)
            model[name] = usec, tag
        elif postpones:
            eta, old_tag = model.pop(name)
            queue.PostponeTask(queue.find(name), eta + usec)
            model[name] = eta + usec, old_tag
        else:
            del model[name]
            assert queue.Delete(name) == pb.TaskQueueServiceError.OK
    order = sorted(model, key=lambda name: model[name][0])

    assert queue.Count() == len(order)
    assert [task.task_name.decode() for task in queue.Lookup(9, eta=0)] == order
    assert queue.OldestTask() is (queue.find(order[0]) if order else None)
    for index, name in enumerate(order):
        page = queue.Lookup(rows, name=name, eta=model[name][0])
        assert [task.task_name.decode() for task in page] == (
            order[index : index + max(0, rows)]
        )
    assert [task.task_name.decode() for task in queue.Lookup(9, name="c")] == (
        sorted(name for name in order if name >= "c")
    )

    for target in (None, "worker", None):
        queue.apply(QueueConfig("q", target=target))
        for service in queue.services:
            own = [name for name in order if (target or model[name][1]) == service]
            assert queue.next_task(service) is (queue.find(own[0]) if own else None)
            due = [name for name in own if model[name][0] <= now_usec]
            assert queue.count_due(service, now_usec / 1e6) == len(due)

    queue.apply(QueueConfig("q", mode="pull"))
    request = pb.TaskQueueQueryAndOwnTasksRequest(
        queue_name=b"q", lease_seconds=60, max_tasks=2, group_by_tag=True, tag=b"x"
    )
    leased = pb.TaskQueueQueryAndOwnTasksResponse()
    queue.QueryAndOwnTasks_Rpc(request, leased)
    due = [name for name in order if model[name] < (now_usec, "")]
    assert [task.task_name.decode() for task in leased.task] == (
        [name for name in due if model[name][1] == "x"][:2]
    )
