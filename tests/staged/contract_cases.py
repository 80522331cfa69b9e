"""What an app may do with the Deferred API. Each case runs inside a request.

The test gets what a case returns, as JSON, or the type and the text of its exception.
"""

import contextlib
import datetime
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import contract_tasks
from google.appengine.api import (
    apiproxy_stub_map,
    datastore,
    namespace_manager,
    taskqueue,
)
from google.appengine.ext import deferred, ndb

from shared import counter

Case = TypeVar("Case", bound=Callable[..., Any])

CASES: dict[str, Callable[..., Any]] = {}


def case(function: Case) -> Case:
    """Let the tests call `function` by its name."""
    CASES[function.__name__] = function
    return function


@case
def defer(function: str, *args: Any, **options: Any) -> str | None:
    """Defer a function of contract_tasks; return the task's name."""
    retry = options.pop("_retry_options", None)
    if retry is not None:
        options["_retry_options"] = taskqueue.TaskRetryOptions(**retry)
    eta = options.pop("_eta_in", None)
    if eta is not None:
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        options["_eta"] = now + datetime.timedelta(seconds=eta)
    return deferred.defer(getattr(contract_tasks, function), *args, **options).name


case(contract_tasks.note)  # a request can be recorded like a task


@case
def in_namespace(namespace: str, name: str, *args: Any, **options: Any) -> Any:
    """Run another case while a namespace is set."""
    namespace_manager.set_namespace(namespace)
    return CASES[name](*args, **options)


@case
def defer_impossible(what: str) -> None:
    """Defer something that no task can carry."""

    def nested() -> None: ...

    impossible: dict[str, tuple[Any, ...]] = {
        "a lambda": (lambda: None,),
        "a nested function": (nested,),
        "a lock": (contract_tasks.keep, "lock", threading.Lock()),
        "a text": ("contract_tasks.note", "text"),
    }
    deferred.defer(*impossible[what])


@case
def defer_unloadable() -> None:
    """Defer with an argument that cannot be unpickled."""
    deferred.defer(contract_tasks.keep, "unloadable", contract_tasks.Unloadable())


@case
def defer_removed() -> None:
    """Defer a function that is gone when the task runs, as after a deploy."""

    def removed() -> None: ...

    removed.__module__, removed.__qualname__ = "contract_tasks", "removed"
    vars(contract_tasks)["removed"] = removed
    try:
        # not at once: the task must not run before the function is gone
        deferred.defer(removed, _countdown=10)
    finally:
        del vars(contract_tasks)["removed"]


@case
def defer_callables() -> None:
    """Defer each kind of callable that the SDK says it accepts."""
    notebook = contract_tasks.Notebook("made in the request")
    deferred.defer(notebook.write, 1)
    deferred.defer(notebook, 2)
    deferred.defer(contract_tasks.Notebook.write_class, "class method", 3)
    deferred.defer(contract_tasks.Notebook, "class")


@case
def count_payload_entities() -> int:
    """Return how many payloads the SDK keeps as entities."""
    return deferred.deferred._DeferredTaskEntity.all(keys_only=True).count()


@case
def delete_payload_entities() -> None:
    """Delete the payloads that the SDK keeps as entities."""
    for entity in deferred.deferred._DeferredTaskEntity.all():
        entity.delete()


@case
def stored_count() -> int | None:
    """Return the count as it is stored; None if there is no entity."""
    entity = counter.Counter.get_by_id(counter.my_key)
    return entity.count if entity else None


@case
def enqueue(url: str, payload: str) -> None:
    """Add a task without defer, and so without a Content-Type."""
    taskqueue.add(url=url, payload=payload.encode())


@case
def add(**options: Any) -> str | None:
    """Add a task without defer; return its name."""
    return taskqueue.add(**options).name


@case
def add_held(seconds: float, **options: Any) -> None:
    """Add a task that runs for so long."""
    payload = deferred.serialize(contract_tasks.hold, "held", seconds)
    taskqueue.add(url="/custom/path", payload=payload, **options)


@case
def add_and_wait(*labels: str) -> int:
    """Add a task for each label at once; return how many UserRPC.wait_any returns."""
    rpcs = {taskqueue.create_rpc() for _ in labels}
    for label, rpc in zip(labels, rpcs, strict=True):
        payload = deferred.serialize(contract_tasks.note, label)
        task = taskqueue.Task(url="/custom/path", payload=payload)
        taskqueue.Queue().add_async(task, rpc=rpc)
    waiting = set(rpcs)
    while waiting:
        waiting.remove(apiproxy_stub_map.UserRPC.wait_any(waiting))
    return len(rpcs)


def enqueue_many(payload: bytes, times: int, countdown: int = 0) -> None:
    """Add many tasks with one payload, a hundred to a call."""
    options = {"url": "/_ah/queue/deferred", "countdown": countdown}
    tasks = [taskqueue.Task(payload, **options) for _ in range(times)]
    for first in range(0, times, taskqueue.MAX_TASKS_PER_ADD):
        taskqueue.Queue().add(tasks[first : first + taskqueue.MAX_TASKS_PER_ADD])


@case
def enqueue_increments(times: int, amount: int) -> None:
    """Add many tasks of the app's own function."""
    function, key = counter.do_something_later, counter.my_key
    enqueue_many(deferred.serialize(function, key, amount), times)


@case
def commit(
    label: str,
    tasks: int = 1,
    size: int = 1,
    rollback: bool = False,
    xg: bool = True,
    **options: Any,
) -> None:
    """Defer tasks with a payload of `size` bytes in a transaction with an entity."""

    def work() -> None:
        ContractEntity(id=label).put()
        for _ in range(tasks):
            options["_transactional"] = True
            deferred.defer(contract_tasks.keep, label, "x" * size, **options)
        if rollback:
            raise ndb.Rollback

    ndb.transaction(work, xg=xg)


@case
def commit_large(label: str, size: int) -> None:
    """Store an argument in the transaction that defers the function for it."""

    def work() -> None:
        key = ContractEntity(id=label, argument="x" * size).put()
        deferred.defer(keep_stored, key, _transactional=True)

    ndb.transaction(work, xg=True)


def keep_stored(key: ndb.Key) -> None:
    """Record the argument that is stored."""
    contract_tasks.keep(key.id(), key.get().argument)


@case
def commit_inside_another(label: str) -> None:
    """Defer a task in a transaction of its own, while another one is open."""

    def work() -> None:
        deferred.defer(contract_tasks.note, label, _transactional=True)

    independent = ndb.TransactionOptions.INDEPENDENT
    ndb.transaction(lambda: ndb.transaction(work, propagation=independent))


@case
def commit_and_die(label: str) -> None:
    """Defer a task in a transaction, and end this process right after its commit."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        ContractEntity(id=label).put()
        ndb.get_context().call_on_commit(die)  # before the SDK's own callback
        deferred.defer(contract_tasks.note, label, _transactional=True)

    ndb.transaction(work, xg=True)


class ContractEntity(ndb.Model):
    """Something to write in a transaction."""

    argument = ndb.TextProperty()


@case
def has_entity(label: str) -> bool:
    """Return whether the entity of a transaction was written."""
    return ContractEntity.get_by_id(label) is not None


@case
def purge(queue: str) -> None:
    """Purge a queue through the task queue API."""
    taskqueue.Queue(queue).purge()


@case
def delete(queue: str, name: str) -> bool:
    """Delete a task through the task queue API; return whether it is deleted."""
    return taskqueue.Queue(queue).delete_tasks_by_name(name).was_deleted


@case
def statistics(queue: str, *names: str) -> list[Any]:
    """Return these of the numbers that the task queue API has for a queue."""
    found = taskqueue.Queue(queue).fetch_statistics()
    return [getattr(found, name) for name in names]


@case
def has_imported(module: str) -> bool:
    """Return whether this process has imported a module."""
    return module in sys.modules


@case
def bundled_entities() -> list[list[Any]]:
    """Return kind, name and properties of each Counter in the bundled datastore."""
    return [
        [entity.kind(), entity.key().name(), dict(entity)]
        for entity in datastore.Query(counter.Counter.__name__).Run()
    ]


@case
def write_bundled_counter(count: int) -> None:
    """Write the counter without NDB, through the bundled datastore."""
    entity = datastore.Entity("Counter", name=counter.my_key)
    entity["count"] = count
    datastore.Put(entity)


@case
def commit_with_the_counter(label: str, amount: int) -> None:
    """Defer a task in a transaction of the library that stores the counter."""

    def work() -> None:
        counter.Counter(id=counter.my_key, count=amount).put()
        deferred.defer(contract_tasks.note, label, _transactional=True)

    context = getattr(counter, "context", contextlib.nullcontext)
    with context():  # Cloud NDB requires one
        counter.ndb.transaction(work, xg=True)  # type: ignore[attr-defined]
