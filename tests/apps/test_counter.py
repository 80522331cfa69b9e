"""shared/counter.py and its variant for Cloud NDB, on a datastore in this process."""

import contextlib
import datetime
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
from gae_devserver.testing.datastore import DatastoreThread
from google.api_core.exceptions import RetryError
from google.appengine.api import datastore_errors
from google.appengine.ext import ndb, testbed
from google.cloud import ndb as cloud_ndb

from shared import counter as with_bundled_ndb
from shared import counter_cloud_ndb as with_cloud_ndb
from tests.apps.plain_gunicorn import environment, run_python
from tests.servers.staging import REPOSITORY


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


class Overtaken:
    """An amount that lets another task add 100 between a task's read and its write."""

    def __init__(self, counter: Any, amount: int, times: float) -> None:
        """Let `times` attempts be overtaken."""
        self.counter = counter
        self.amount = amount
        self.times = times
        self.attempts = 0

    def __radd__(self, count: int) -> int:
        """Return the sum, which the task then writes."""
        self.attempts += 1
        if self.attempts <= self.times:
            in_thread(self.counter.do_something_later, "key", 100)
        return count + self.amount


def test_no_update_is_lost(counter: Any) -> None:
    """A task that is overtaken between its read and its write starts over."""
    amount = Overtaken(counter, 10, times=1)

    counter.do_something_later("key", amount)

    assert amount.attempts == 2
    assert count(counter) == 110


def test_gives_up_when_always_overtaken(counter: Any) -> None:
    """A task that is overtaken each time raises, for the queue to retry."""
    amount = Overtaken(counter, 10, times=float("inf"))

    with pytest.raises((datastore_errors.TransactionFailedError, RetryError)):
        counter.do_something_later("key", amount)

    assert amount.attempts > 1
    assert count(counter) == 100 * amount.attempts


def test_joins_a_transaction(bundled: Any) -> None:
    """In a transaction of the caller, it is rolled back with it."""

    def add_and_fail() -> None:
        bundled.do_something_later("key", 10)
        raise ndb.Rollback

    ndb.transaction(add_and_fail)

    assert count(bundled) == 0


# --- a task that is delivered twice ---


def test_counts_a_task_once(counter: Any, deliver: Callable[..., None]) -> None:
    """The second and the third delivery of a task change nothing.

    Another task, or one of that name in another queue, counts.
    """
    for _ in range(3):
        deliver("a", counter.do_something_later, "key", 10)
    assert count(counter) == 10

    deliver("b", counter.do_something_later, "key", 10)
    deliver("a", counter.do_something_later, "key", 10, queue="other")
    deliver("a", counter.do_something_later, "other key", 1)

    assert count(counter) == 30
    assert count(counter, "other key") == 1


def test_a_failed_task_is_not_recorded(
    counter: Any, deliver: Callable[..., None]
) -> None:
    """Count and record are written together or not at all: a retry counts."""
    with pytest.raises(ValueError, match="out of range"):
        deliver("a", counter.do_something_later, "key", 2**70)
    assert count(counter) == 0

    deliver("a", counter.do_something_later, "key", 10)

    assert count(counter) == 10


def test_an_expired_record_does_not_count(
    counter: Any, deliver: Callable[..., None]
) -> None:
    """A task name that is used again after days is a new task."""
    with getattr(counter, "context", contextlib.nullcontext)():
        parent = counter.Counter(id="key", count=0).put()
        expired = datetime.datetime(2000, 1, 1)
        counter.FinishedTask(id="default/a", parent=parent, expires=expired).put()

    for _ in range(2):
        deliver("a", counter.do_something_later, "key", 10)

    assert count(counter) == 10


def test_deliveries_at_once(counter: Any, deliver: Callable[..., None]) -> None:
    """Deliveries of one task that overlap count once: the others start over."""

    def deliver_four_times() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(counter.do_something_later, ["key"] * 4, [10] * 4))

    deliver("a", deliver_four_times)

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
    """No query needs the count or the expiry, so no write costs an index entry."""
    properties = (with_bundled_ndb.Counter.count, with_bundled_ndb.FinishedTask.expires)
    for unindexed in properties:
        with pytest.raises(datastore_errors.BadFilterError):
            unindexed == 10  # noqa: B015 (NDB makes a filter of it)


# --- names and keys ---


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
    """In production each version has its own counter; a dev server has one."""
    program = f"from shared.{module} import my_key; print(my_key)"

    assert run_python(REPOSITORY, variables, "-c", program) == f"{key}\n"


# --- Cloud NDB ---


def test_no_context_stays_open(cloud: Any) -> None:
    """Views and tasks do not have to open a context, and none stays open."""
    cloud.do_something_later("key", 10)
    assert cloud.Counter.get_by_id("key").count == 10

    assert cloud_ndb.get_context(raise_context_error=False) is None


# Prints how many clients are made if another thread asks while one is being made.
CLIENTS = """\
import threading
from concurrent.futures import ThreadPoolExecutor
from google.cloud import ndb

second = threading.Barrier(2)
made = []

class SlowClient(ndb.Client):
    def __init__(self, **options):
        made.append(self)
        try:
            second.wait(0.3)
        except threading.BrokenBarrierError:
            pass
        super().__init__(**options)

ndb.Client = SlowClient
from shared.counter_cloud_ndb import context

def request(_):
    with context():
        pass

with ThreadPoolExecutor(8) as pool:
    list(pool.map(request, range(8)))
print(len(made))
"""


def test_threads_share_one_client() -> None:
    """The first requests, which come at once, make one client."""
    variables = environment(
        "localdev", DATASTORE_EMULATOR_HOST="localhost:1", GOOGLE_CLOUD_PROJECT="unit"
    )

    assert run_python(REPOSITORY, variables, "-c", CLIENTS) == "1\n"
