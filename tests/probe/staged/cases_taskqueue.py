"""Calls of the task queue that the contract's tests do not make.

Tasks that push are due in an hour, so none runs.
"""

import time
from functools import partial
from typing import Any

from google.appengine.api import taskqueue

LATER = 3600
names = (f"n{number}-{time.time_ns()}" for number in range(1_000_000))


def task(**options: Any) -> taskqueue.Task:
    """Return a task that is due in an hour."""
    return taskqueue.Task(**{"url": "/x", "countdown": LATER, **options})


def added(queue: str = "default", **options: Any) -> Any:
    """Add a task; return what it says of itself."""
    taskqueue.Queue(queue).purge()
    made = task(**options)
    made.add(queue)
    return (
        made.method,
        made.url,
        made.payload,
        made.size,
        made.target,
        made.was_enqueued,
        made.queue_name,
        bool(made.name),
        taskqueue.Queue(queue).fetch_statistics().tasks,
    )


def pull(**options: Any) -> taskqueue.Task:
    """Return a task for a pull queue."""
    return taskqueue.Task(**{"method": "PULL", "payload": "work", **options})


def leased(*made: taskqueue.Task, seconds: Any = 60, most: Any = 10) -> Any:
    """Add tasks to an empty pull queue, and lease them."""
    queue = taskqueue.Queue("leases")
    queue.purge()
    if made:
        queue.add(list(made))
    return queue.lease_tasks(seconds, most)


def payloads(tasks: Any) -> Any:
    """Return what tasks carry."""
    return [(one.payload, one.tag, one.retry_count) for one in tasks]


def by_tag(tag: Any, **options: Any) -> Any:
    """Lease the tasks with a tag."""
    queue = taskqueue.Queue("leases")
    queue.purge()
    queue.add([pull(tag="a"), pull(tag="b", payload="b"), pull(payload="none")])
    return payloads(queue.lease_tasks_by_tag(60, 10, tag=tag, **options))


def modified(seconds: Any, again: int = 60) -> Any:
    """Change a lease; return how many tasks can then be leased."""
    (one,) = leased(pull())
    queue = taskqueue.Queue("leases")
    queue.modify_task_lease(one, seconds)
    return one.was_deleted, len(queue.lease_tasks(again, 10))


def deleted(how: str, *more: Any) -> Any:
    """Add two tasks and delete the first; return how many are left."""
    queue = taskqueue.Queue("default")
    queue.purge()
    first, second = queue.add([task(name=next(names)), task(name=next(names))])
    result = getattr(queue, how)(first if how == "delete_tasks" else first.name, *more)
    return (
        first.was_deleted,
        second.was_deleted,
        type(result).__name__,
        queue.fetch_statistics().tasks,
    )


def bulk(number: int, **options: Any) -> Any:
    """Add tasks at once; return how many have names of their own."""
    queue = taskqueue.Queue("default")
    queue.purge()
    made = queue.add([task(**options) for _ in range(number)])
    return (
        len({one.name for one in made if one.name}),
        queue.fetch_statistics().tasks,
        queue.delete_tasks(made) is not None,
        sum(one.was_deleted for one in made),
    )


def statistics(*queues: Any) -> Any:
    """Return the statistics that are certain."""
    taskqueue.Queue("default").purge()
    taskqueue.add(url="/x", countdown=LATER)
    return [
        (one.queue.name, one.tasks, one.oldest_eta_usec is not None)
        for one in taskqueue.QueueStatistics.fetch(list(queues))
    ]


OPTIONS: dict[str, dict[str, Any]] = {
    "a task": {},
    "params": {"params": {"a": "1", "b": ["2", "ü"]}},
    "payload unicode": {"payload": "grün"},
    "payload 100 KB": {"payload": b"x" * 100_000},
    "payload over 100 KB": {"payload": b"x" * 102_401},
    "method PUT": {"method": "PUT"},
    "countdown negative": {"countdown": -5},
    "deadline": {"dispatch_deadline_usec": 60_000_000},
}

CASES: dict[str, Any] = {
    **{f"add {name}": partial(added, **o) for name, o in OPTIONS.items()},
    "add twice": lambda: [one := task(), one.add(), one.add()],
    "add async": lambda: task().add_async().get_result().was_enqueued,
    "bulk": lambda: bulk(10),
    "bulk too large": lambda: bulk(20, payload=b"x" * 100_000),
    "bulk async": lambda: len(
        {t.name for t in taskqueue.Queue().add_async([task(), task()]).get_result()}
    ),
    "bulk pull": lambda: len(
        {one.name for one in taskqueue.Queue("pull").add([pull(), pull()])}
    ),
    "delete": lambda: deleted("delete_tasks"),
    "delete async": lambda: deleted("delete_tasks_async"),
    "delete by name": lambda: deleted("delete_tasks_by_name"),
    "delete missing": lambda: taskqueue.Queue().delete_tasks_by_name("x").was_deleted,
    "delete in unknown queue": lambda: taskqueue.Queue("no").delete_tasks_by_name("x"),
    "purge unknown queue": lambda: taskqueue.Queue("nothing").purge(),
    "lease": lambda: payloads(leased(pull(), pull(tag="t"))),
    "lease none": leased,
    "lease most": lambda: len(leased(pull(), pull(), pull(), most=2)),
    "lease again": lambda: [
        len(leased(pull())),
        len(taskqueue.Queue("leases").lease_tasks(60, 10)),
    ],
    "lease countdown": lambda: len(leased(pull(countdown=LATER))),
    "lease a fraction": lambda: len(leased(pull(), seconds=0.5)),
    "lease of push queue": lambda: taskqueue.Queue().lease_tasks(60, 10),
    "lease of unknown queue": lambda: taskqueue.Queue("nothing").lease_tasks(60, 10),
    "lease async": lambda: [
        leased(),
        taskqueue.Queue("leases").add(pull()).was_enqueued,
        payloads(taskqueue.Queue("leases").lease_tasks_async(60, 10).get_result()),
    ],
    "lease by tag": lambda: by_tag("a"),
    "lease by unknown tag": lambda: by_tag("unknown"),
    "lease by unicode tag": lambda: by_tag("grün"),
    "pull with tag unicode": lambda: payloads(leased(pull(tag="grün"))),
    "pull 1 MB": lambda: len(leased(pull(payload=b"x" * 1_000_000))),
    "pull delete": lambda: [
        one.was_deleted
        for one in taskqueue.Queue("leases").delete_tasks(leased(pull(), pull()))
    ],
    "modify lease": lambda: modified(120),
    "modify lease to 0": lambda: modified(0),
    "modify lease missing": lambda: taskqueue.Queue("leases").modify_task_lease(
        pull(name="missing"), 60
    ),
    "statistics": lambda: statistics("default", "pull"),
    "statistics of none": statistics,
    "statistics of unknown": lambda: statistics("nothing"),
}

GROUPS = {"taskqueue": CASES}
