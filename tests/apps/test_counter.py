"""shared/counter.py, and the file that replaces it, on a datastore in this process."""

import contextlib
import contextvars
import datetime
import functools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
from gae_devserver.testing.datastore import DatastoreThread
from google.api_core.exceptions import RetryError
from google.appengine.api import datastore_errors, namespace_manager
from google.appengine.ext import deferred, ndb, testbed
from google.cloud import ndb as cloud_ndb

from shared import counter as with_bundled_ndb
from shared import counter_cloud_ndb as with_cloud_ndb
from tests.apps.plain_gunicorn import REPOSITORY

FIRST = {"HTTP_X_APPENGINE_TASKNAME": "a", "HTTP_X_APPENGINE_QUEUENAME": "default"}
"""What a task finds in os.environ."""


@pytest.fixture
def bundled(services: testbed.Testbed) -> ModuleType:
    """The counter with bundled NDB, on the SDK's stubs."""
    return with_bundled_ndb


@pytest.fixture(scope="module")
def datastore() -> Iterator[DatastoreThread]:
    """The dev server's datastore, for Cloud NDB."""
    datastore = DatastoreThread("unit")
    yield datastore
    datastore.stop()


@pytest.fixture
def cloud(datastore: DatastoreThread, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The counter with Cloud NDB, on an empty datastore."""
    datastore.clear()
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", datastore.host)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "unit")
    return with_cloud_ndb


@pytest.fixture(params=["bundled", "cloud"])
def counter(request: pytest.FixtureRequest) -> Any:
    """The counter with either library."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def deliver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call a function as the delivery of a task does."""

    def deliver(
        task: str, function: Callable[..., None], *args: Any, queue: str = "default"
    ) -> None:
        with monkeypatch.context() as request:
            request.setenv("HTTP_X_APPENGINE_TASKNAME", task)
            request.setenv("HTTP_X_APPENGINE_QUEUENAME", queue)
            function(*args)

    return deliver


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a thread, as gunicorn does for a request."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def count(counter: Any, key: str = "key") -> int:
    """Return the count that a request sees, 0 if there is no counter."""
    entity = in_thread(counter.Counter.get_by_id, key)
    return entity.count if entity else 0


def test_first_task_makes_the_counter(counter: Any) -> None:
    """A counter starts at 0, with the first task."""
    assert count(counter) == 0

    counter.do_something_later("key", 10)

    assert count(counter) == 10


def test_tasks_add_up(counter: Any) -> None:
    """Each task adds its amount, to its own counter only."""
    for amount in (10, 20, -5):
        counter.do_something_later("key", amount)
    counter.do_something_later("other key", 1)

    assert count(counter) == 25
    assert count(counter, "other key") == 1


def overtake(
    monkeypatch: pytest.MonkeyPatch, counter: Any, times: float
) -> list[object]:
    """Let another task add 100 between a task's read and its write, so many times."""
    overtaken: list[object] = []
    task = threading.current_thread()

    def before_write(entity: object) -> None:
        if threading.current_thread() is task and len(overtaken) < times:
            # get_or_insert writes a new counter too
            overtaken.append(entity)
            in_thread(counter.do_something_later, "key", 100)

    # both libraries call this hook before they write
    monkeypatch.setattr(counter.Counter, "_pre_put_hook", before_write)
    return overtaken


def test_no_update_is_lost(counter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is overtaken between its read and its write starts over."""
    counter.do_something_later("key", 1)
    overtaken = overtake(monkeypatch, counter, times=1)

    counter.do_something_later("key", 10)

    assert len(overtaken) == 1
    assert count(counter) == 111


def test_gives_up_when_always_overtaken(
    counter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that loses each time raises, for the queue to retry; it adds nothing."""
    counter.do_something_later("key", 1)
    overtaken = overtake(monkeypatch, counter, times=float("inf"))

    with pytest.raises((datastore_errors.TransactionFailedError, RetryError)):
        counter.do_something_later("key", 10)

    assert len(overtaken) > 1
    assert count(counter) == 1 + 100 * len(overtaken)


def test_joins_a_transaction(bundled: Any) -> None:
    """Called within a transaction, it is undone with it."""

    def add_and_fail() -> None:
        bundled.do_something_later("key", 10)
        raise ndb.Rollback

    ndb.transaction(add_and_fail)

    assert count(bundled) == 0


# --- a task that is delivered twice ---


def test_counts_a_task_once(counter: Any, deliver: Callable[..., None]) -> None:
    """The second and the third delivery of a task change nothing."""
    for _ in range(3):
        deliver("a", counter.do_something_later, "key", 10)

    assert count(counter) == 10


def test_counts_each_task(counter: Any, deliver: Callable[..., None]) -> None:
    """Another task, or one of that name in another queue, counts."""
    deliver("a", counter.do_something_later, "key", 10)
    deliver("b", counter.do_something_later, "key", 10)
    deliver("a", counter.do_something_later, "key", 10, queue="other")
    deliver("a", counter.do_something_later, "other key", 1)

    assert count(counter) == 30
    assert count(counter, "other key") == 1


def test_counts_a_plain_call_each_time(counter: Any) -> None:
    """A call outside a task is never a repeat."""
    counter.do_something_later("key", 10)
    counter.do_something_later("key", 10)

    assert count(counter) == 20


def test_a_failed_task_is_not_recorded(
    counter: Any, deliver: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count and record are written together or not at all: a retry counts."""

    def fail(entity: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as failing:
        failing.setattr(counter.FinishedTask, "_pre_put_hook", fail)
        with pytest.raises(ZeroDivisionError):
            deliver("a", counter.do_something_later, "key", 10)
    assert count(counter) == 0

    deliver("a", counter.do_something_later, "key", 10)

    assert count(counter) == 10


def test_an_expired_record_does_not_count(
    counter: Any, deliver: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is used again after days is a new task, deleted records or not."""

    def expire(record: Any) -> None:
        record.expires = datetime.datetime(2000, 1, 1)

    with monkeypatch.context() as old:
        old.setattr(counter.FinishedTask, "_pre_put_hook", expire)
        deliver("a", counter.do_something_later, "key", 10)
    for _ in range(2):
        deliver("a", counter.do_something_later, "key", 10)

    assert count(counter) == 20


def test_deliveries_at_once(counter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries of one task that overlap count once: the others start over."""
    for name, value in FIRST.items():
        monkeypatch.setenv(name, value)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(counter.do_something_later, ["key"] * 4, [10] * 4))

    assert count(counter) == 10


def test_the_record(bundled: Any, deliver: Callable[..., None]) -> None:
    """A task's record is a child of its counter, and expires in days, in UTC."""
    deliver("a", bundled.do_something_later, "key", 10)

    (record,) = bundled.FinishedTask.query().fetch()
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert record.key.parent() == bundled.Counter(id="key").key
    assert record.key.id() == "default/a"
    assert datetime.timedelta(1) < record.expires - now < datetime.timedelta(9)


def test_nothing_is_indexed() -> None:
    """No query needs the count or the expiry, so no write pays for an index."""
    properties = (with_bundled_ndb.Counter.count, with_bundled_ndb.FinishedTask.expires)
    for unindexed in properties:
        with pytest.raises(datastore_errors.BadFilterError):
            unindexed == 10  # noqa: B015 (NDB makes a filter of it)


# --- names and keys ---


def test_is_pickled_by_name(services: testbed.Testbed) -> None:
    """A task names its function by module: shared.counter, not main, and no wrapper."""
    function = with_bundled_ndb.do_something_later
    payload = deferred.serialize(function, "key", 10)

    assert pickle.loads(payload)[0] is function
    assert b"shared.counter" in payload
    assert b"do_something_later" in payload


@pytest.mark.parametrize("module", ["counter", "counter_cloud_ndb"])
@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"GAE_ENV": "standard", "GAE_VERSION": "v1"}, "v1"),
        ({"GAE_ENV": "localdev", "GAE_VERSION": "20261122t080000"}, "localdev"),
        ({"GAE_ENV": "localdev"}, "localdev"),
        ({}, "Missing"),
    ],
)
def test_key(variables: dict[str, str], key: str, module: str) -> None:
    """Each version has a counter in production; a dev server has one in all."""
    shown = subprocess.run(
        [sys.executable, "-c", f"from shared.{module} import my_key; print(my_key)"],
        cwd=REPOSITORY,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert shown.stdout.strip() == key


# --- Cloud NDB ---


def test_no_context_stays_open(cloud: Any) -> None:
    """Neither a view nor a task has to open a context, and none stays open."""
    cloud.do_something_later("key", 10)
    assert cloud.Counter.get_by_id("key").count == 10

    assert cloud_ndb.get_context(raise_context_error=False) is None


def test_counts_in_the_namespace_that_is_set(counter: Any) -> None:
    """The namespace of the request is also that of Cloud NDB."""

    def add_apart() -> int:
        namespace_manager.set_namespace("apart")
        counter.do_something_later("key", 10)
        return int(counter.Counter.get_by_id("key").count)

    # as each request has a contextvars.Context of its own
    assert contextvars.copy_context().run(add_apart) == 10

    assert count(counter) == 0


def test_threads_share_one_client(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come at once, as the first ones, make one client."""
    clients = []
    second = threading.Barrier(2)

    def slow(project: str) -> cloud_ndb.Client:
        # until another thread makes a client too, which none should
        with contextlib.suppress(threading.BrokenBarrierError):
            second.wait(0.3)
        clients.append(cloud_ndb.Client(project=project))
        return clients[-1]

    monkeypatch.setattr(cloud, "new_client", functools.cache(slow))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cloud.Counter.get_by_id, ["key"] * 8))

    assert len(clients) == 1
