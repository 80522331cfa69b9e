"""What an app may do with the Deferred API. Each case runs inside a request.

A case returns something that JSON can hold. Its exceptions are answers too: the test
gets their type and text.
"""

import contextlib
import contextvars
import datetime
import gc
import http.client
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from wsgiref.types import WSGIEnvironment

import contract_tasks
from google.appengine.api import datastore, namespace_manager, taskqueue
from google.appengine.ext import deferred, ndb

from shared import counter

request: contextvars.ContextVar[WSGIEnvironment] = contextvars.ContextVar("request")
"""The request that the case runs in."""

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
    task = deferred.defer(getattr(contract_tasks, function), *args, **options)
    name: str | None = task.name
    return name


@case
def add_task(label: str) -> None:
    """Add a task that defer would add, but without the header that defer sends."""
    payload = deferred.serialize(contract_tasks.note, label)
    taskqueue.add(url="/_ah/queue/deferred", payload=payload)


@case
def defer_lambda() -> None:
    """Defer a lambda, which no pickle can name."""
    deferred.defer(lambda: None)


@case
def defer_nested() -> None:
    """Defer a function that was defined inside another."""

    def nested() -> None: ...

    deferred.defer(nested)


@case
def defer_unpicklable() -> None:
    """Defer with an argument that cannot be pickled."""
    deferred.defer(contract_tasks.keep, "unpicklable", threading.Lock())


@case
def defer_text() -> None:
    """Defer something that cannot be called."""
    deferred.defer("contract_tasks.note", "text")


@case
def defer_url_none() -> None:
    """Defer with the URL that the SDK's docstring gives for "the queue's own"."""
    deferred.defer(contract_tasks.note, "url none", _url=None)


@case
def defer_unloadable() -> None:
    """Defer with an argument that fails to load."""
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
    """Defer each kind of callable that the SDK promises to take."""
    notebook = contract_tasks.Notebook("made in the request")
    deferred.defer(notebook.write, 1)
    deferred.defer(notebook, 2)
    deferred.defer(contract_tasks.Notebook.write_class, "class method", 3)
    deferred.defer(contract_tasks.Notebook, "class")


@case
def defer_big(size: int, **options: Any) -> None:
    """Defer with an argument of `size` bytes."""
    deferred.defer(contract_tasks.weigh, "big", "x" * size, **options)


@case
def count_payload_entities() -> int:
    """Return how many payloads the SDK keeps as entities."""
    kind = deferred.deferred._DeferredTaskEntity
    count: int = kind.all(keys_only=True).count()
    return count


@case
def delete_payload_entities() -> None:
    """Delete the payloads that the SDK keeps as entities."""
    for entity in deferred.deferred._DeferredTaskEntity.all():
        entity.delete()


@case
def defer_in_namespace(namespace: str) -> None:
    """Defer a task while a namespace is set."""
    namespace_manager.set_namespace(namespace)
    deferred.defer(contract_tasks.note_namespace, "namespace")


@case
def note_request(label: str) -> None:
    """Write down the headers of this request, as a task would its own."""
    contract_tasks.note(label)


@case
def stored_count() -> int | None:
    """Return the count as it is stored; None if there is no entity."""
    entity = counter.Counter.get_by_id(counter.my_key)
    count: int | None = entity.count if entity else None
    return count


@case
def enqueue(url: str, payload: str = "", queue: str = "default", **options: Any) -> Any:
    """Add a task of the task queue's own making."""
    task = taskqueue.Task(url=url, payload=payload.encode(), **options)
    return task.add(queue).name


@case
def enqueue_increments(times: int, amount: int) -> None:
    """Add many tasks of the app's own function, a hundred to a call."""
    payload = deferred.serialize(counter.do_something_later, counter.my_key, amount)
    tasks = [
        taskqueue.Task(url="/_ah/queue/deferred", payload=payload) for _ in range(times)
    ]
    for first in range(0, times, taskqueue.MAX_TASKS_PER_ADD):
        taskqueue.Queue().add(tasks[first : first + taskqueue.MAX_TASKS_PER_ADD])


class _Itself(http.client.HTTPConnection):
    """A connection to the socket that gunicorn took this request from."""

    def connect(self) -> None:
        """Connect to a port, or to a socket in the file system."""
        taken: socket.socket = request.get()["gunicorn.socket"]
        self.sock = socket.socket(taken.family)
        self.sock.connect(taken.getsockname())


@case
def post_to_itself(path: str, function: str, chunked: bool = False) -> list[Any]:
    """Post a task to the app's own gunicorn; return status, content type and text.

    Past the dev server, whose front would take off the headers that App Engine sends.
    If `chunked`, without a Content-Length, as no queue does.
    """
    payload = deferred.serialize(getattr(contract_tasks, function), "posted")
    headers = {
        "X-AppEngine-TaskName": "posted",
        "X-AppEngine-QueueName": "default",
        "X-AppEngine-TaskRetryCount": "0",
        "X-AppEngine-User-IP": "0.1.0.2",
    }
    with contextlib.closing(_Itself("localhost")) as app:
        body = iter([payload]) if chunked else payload
        app.request("POST", path, body, headers, encode_chunked=chunked)
        answer = app.getresponse()
        content_type = answer.headers.get_content_type()
        return [answer.status, content_type, answer.read().decode()]


@case
def commit(label: str, tasks: int = 1, **options: Any) -> None:
    """Defer tasks in a transaction that commits."""

    def work() -> None:
        contract_entity(label).put()
        for _ in range(tasks):
            deferred.defer(contract_tasks.note, label, _transactional=True, **options)

    ndb.transaction(work)


@case
def roll_back(label: str) -> None:
    """Defer a task in a transaction that is rolled back."""

    def work() -> None:
        contract_entity(label).put()
        deferred.defer(contract_tasks.note, label, _transactional=True)
        raise ndb.Rollback

    ndb.transaction(work)


@case
def commit_big(size: int) -> None:
    """Defer a payload that needs an entity of its own, in a transaction."""

    def work() -> None:
        contract_entity("big").put()
        defer_big(size, _transactional=True)

    ndb.transaction(work)


class ContractEntity(ndb.Model):
    """Something to write in a transaction."""


def contract_entity(label: str) -> ContractEntity:
    """Return an entity named after `label`."""
    return ContractEntity(id=label)


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
    task = taskqueue.Queue(queue).delete_tasks_by_name(name)
    deleted: bool = task.was_deleted
    return deleted


@case
def statistics(queue: str, *names: str) -> list[Any]:
    """Return what the task queue API tells of a queue, by the names of its numbers."""
    found = taskqueue.Queue(queue).fetch_statistics()
    return [getattr(found, name) for name in names]


@case
def pull_add(payload: str, tag: str | None = None) -> None:
    """Add a task for a worker to lease."""
    taskqueue.Queue("pull").add(taskqueue.Task(payload=payload, method="PULL", tag=tag))


@case
def pull_lease(seconds: int, tasks: int, tag: str | None = None) -> list[list[Any]]:
    """Lease tasks; return the name, payload and earlier leases of each."""
    queue = taskqueue.Queue("pull")
    if tag is None:
        leased = queue.lease_tasks(seconds, tasks)
    else:
        leased = queue.lease_tasks_by_tag(seconds, tasks, tag)
    return [[task.name, task.payload.decode(), task.retry_count] for task in leased]


@case
def pull_delete(name: str) -> None:
    """Delete a task that a worker has finished."""
    taskqueue.Queue("pull").delete_tasks_by_name(name)


@case
def pull_renew(seconds: int, more: int) -> str:
    """Lease one task, make the lease longer, and return the task's name."""
    queue = taskqueue.Queue("pull")
    (task,) = queue.lease_tasks(seconds, 1)
    queue.modify_task_lease(task, more)
    name: str = task.name
    return name


@case
def pull_lease_push_queue() -> None:
    """Lease from a queue that pushes."""
    taskqueue.Queue("default").lease_tasks(10, 1)


@case
def counter_library() -> str:
    """Return the module of the class that Counter comes from in the end."""
    *_, base, _ = counter.Counter.__mro__
    module: str = base.__module__
    return module


@case
def has_imported(module: str) -> bool:
    """Return whether this process has imported a module."""
    return module in sys.modules


@case
def cloud_clients() -> list[int]:
    """Return this process and how many clients of Cloud NDB it has made."""
    from google.cloud import ndb as cloud_ndb

    clients = [thing for thing in gc.get_objects() if type(thing) is cloud_ndb.Client]
    return [os.getpid(), len(clients)]


@case
def bundled_entities() -> list[list[Any]]:
    """Return kind, name and properties of all that the bundled datastore stores."""
    return [
        [entity.kind(), entity.key().name(), dict(entity)]
        for entity in datastore.Query(counter.Counter.__name__).Run()
    ]


@case
def write_bundled_counter(count: int) -> None:
    """Write the counter with no library but the bundled datastore's own."""
    entity = datastore.Entity("Counter", name=counter.my_key)
    entity["count"] = count
    datastore.Put(entity)


@case
def increment_in_namespace(namespace: str, amount: int) -> None:
    """Defer the app's own function while a namespace is set."""
    namespace_manager.set_namespace(namespace)
    deferred.defer(counter.do_something_later, counter.my_key, amount)


@case
def stored_count_in_namespace(namespace: str) -> int | None:
    """Return the count that is stored in a namespace; None if there is no entity."""
    namespace_manager.set_namespace(namespace)
    return stored_count()


@case
def commit_with_the_counter(label: str, amount: int) -> None:
    """Defer a task in a transaction of the library that stores the counter."""

    def work() -> None:
        counter.Counter(id=counter.my_key, count=amount).put()
        deferred.defer(contract_tasks.note, label, _transactional=True)

    context = getattr(counter, "context", contextlib.nullcontext)
    with context():  # Cloud NDB needs one
        counter.ndb.transaction(work)  # type: ignore[attr-defined]
