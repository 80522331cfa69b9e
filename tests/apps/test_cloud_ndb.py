"""shared/cloud_ndb.py on the dev server's store: contexts, client and transactions.

What an app does with it is in the contract, which also runs with COUNTER_NDB: cloud.
"""

# the models and decorators of a library without types
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

import contextlib
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gae_devserver.datastore_v1 import transactions
from gae_devserver.testing.datastore import DatastoreThread
from google.api_core.exceptions import RetryError
from google.appengine.api import namespace_manager
from google.cloud import ndb as library
from google.cloud.ndb import _retry

from shared.cloud_ndb import cloud_ndb
from tests.apps.plain_gunicorn import REPOSITORY

PROJECT = "unit"
AT_ONCE = 8

PATIENCE = 0.3
"""Seconds that a thread gets to do what it should not."""


@pytest.fixture(scope="module")
def datastore() -> Iterator[DatastoreThread]:
    """A datastore for all tests of the module."""
    datastore = DatastoreThread(PROJECT)
    yield datastore
    datastore.stop()


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The clients that the test has made; closed at its end."""
    clients: list[Any] = []

    class Client(library.Client):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            clients.append(self)

    monkeypatch.setattr(library, "Client", Client)
    yield clients
    for client in clients:
        client.stub.close()


@pytest.fixture
def ndb(
    datastore: DatastoreThread, clients: list[Any], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """What counter.py uses of ndb, on an empty datastore."""
    datastore.clear()
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", datastore.host)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", PROJECT)
    # seconds before a retry, and for which the datastore lets a transaction wait
    monkeypatch.setattr(_retry, "_DEFAULT_INITIAL_DELAY", 0.001)
    monkeypatch.setattr(transactions, "PATIENCE", 0.05)
    return cloud_ndb()


@pytest.fixture
def counter(ndb: Any) -> Any:
    """A model like that of counter.py."""

    # of another name: what is read has the class that was the last of its name
    class Tally(ndb.Model):
        count = ndb.IntegerProperty()

    return Tally


@pytest.fixture
def add(ndb: Any, counter: Any) -> Any:
    """A transaction like that of counter.py, with a moment between read and write."""

    @ndb.transactional
    def add(
        key: str, amount: int, in_between: Callable[[], object] = lambda: None
    ) -> None:
        entity = counter.get_or_insert(key, count=0)
        in_between()
        entity.count += amount
        entity.put()

    return add


def in_thread(function: Callable[..., object], *args: Any) -> None:
    """Let another task by: call a function in a thread, and wait for its end."""
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_needs_no_context(counter: Any, add: Callable[..., None]) -> None:
    """Neither a view nor a task has to open a context, and none stays open."""
    assert counter.get_by_id("key") is None
    add("key", 10)
    add("key", 5)

    assert counter.get_by_id("key").count == 15
    assert library.get_context(raise_context_error=False) is None


def test_uses_the_context_that_is_open(
    counter: Any, add: Callable[..., None], clients: list[Any]
) -> None:
    """An app that opens contexts itself, one for each request, may go on so."""
    client = library.Client(project=PROJECT)
    with client.context() as context:
        add("key", 10)
        assert counter.get_by_id("key").count == 10
        assert library.get_context() is context

    assert clients == [client]


def test_reads_what_others_wrote_meanwhile(
    counter: Any, add: Callable[..., None]
) -> None:
    """The cache of a context does not outlast a call."""
    add("key", 10)
    assert counter.get_by_id("key").count == 10

    in_thread(add, "key", 5)

    assert counter.get_by_id("key").count == 15


def test_no_update_is_lost(counter: Any, add: Callable[..., None]) -> None:
    """A task that is overtaken between its read and its write starts over."""
    attempts = []

    def let_another_task_by() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            in_thread(add, "key", 100)

    add("key", 1)
    add("key", 10, let_another_task_by)

    assert len(attempts) == 2
    assert counter.get_by_id("key").count == 111


def test_gives_up_when_always_overtaken(counter: Any, add: Callable[..., None]) -> None:
    """A task that loses each time raises, for the queue to retry; it adds nothing."""
    attempts = []

    def let_another_task_by() -> None:
        attempts.append(1)
        in_thread(add, "key", 100)

    add("key", 1)
    with pytest.raises(RetryError):
        add("key", 10, let_another_task_by)

    assert len(attempts) > 1
    assert counter.get_by_id("key").count == 1 + 100 * len(attempts)


def test_joins_a_transaction(ndb: Any, counter: Any, add: Callable[..., None]) -> None:
    """Called within a transaction, it is undone with it."""

    @ndb.transactional
    def add_and_fail() -> None:
        add("key", 10)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        add_and_fail()

    assert counter.get_by_id("key") is None


def test_counts_in_the_namespace_that_is_set(
    counter: Any, add: Callable[..., None]
) -> None:
    """The namespace of the request is also that of Cloud NDB."""

    def add_apart() -> None:
        namespace_manager.set_namespace("apart")
        add("key", 10)
        assert counter.get_by_id("key").count == 10

    # as each request has a contextvars.Context of its own
    contextvars.copy_context().run(add_apart)

    assert counter.get_by_id("key") is None
    found = counter.get_by_id("key", namespace="apart")
    assert found.count == 10


def test_threads_share_one_client(
    counter: Any, clients: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that come at once, as the first ones, make one client."""
    second = threading.Barrier(2)

    class Slow(library.Client):
        def __init__(self, **options: Any) -> None:
            # until another thread makes a client too, which none should
            with contextlib.suppress(threading.BrokenBarrierError):
                second.wait(PATIENCE)
            super().__init__(**options)

    monkeypatch.setattr(library, "Client", Slow)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(counter.get_by_id, ["key"] * AT_ONCE))

    assert len(clients) == 1


FORK = """\
import os, signal
from google.cloud import ndb as library
from shared.cloud_ndb import cloud_ndb

class Client(library.Client):
    made = []
    def __init__(self, **options):
        super().__init__(**options)
        Client.made.append(os.getpid())

library.Client = Client
class Counter(cloud_ndb().Model):
    pass

Counter.get_by_id("key")
child = os.fork()
signal.alarm(20)  # rather than to hang
Counter.get_by_id("key")
if not child:
    os._exit(Client.made != [os.getppid(), os.getpid()])
print(Client.made == [os.getpid()], os.waitpid(child, 0)[1])
"""


def run(script: str) -> str:
    """Run Python in a process that may fork; return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return result.stdout.strip()


def test_forked_process_has_its_own_client(ndb: Any) -> None:
    """A client from before the fork is not used after it."""
    assert run(FORK) == "True 0"


FORK_WHILE_MAKING = f"""\
import contextlib, os, signal, threading
from google.cloud import ndb as library
from shared.cloud_ndb import cloud_ndb

made, forked = threading.Event(), threading.Event()

class Client:
    def __init__(self, **options):
        made.set()
        forked.wait({PATIENCE})  # for the fork, unless that waits for the client
    def context(self, **options):
        return contextlib.nullcontext()

class Model:
    @classmethod
    def get_by_id(cls, name):
        return name

library.Client, library.Model = Client, Model
Counter = cloud_ndb().Model
thread = threading.Thread(target=Counter.get_by_id, args=["key"])
thread.start()
made.wait()
child = os.fork()
if not child:
    signal.alarm(10)  # rather than to hang
forked.set()
Counter.get_by_id("key")
if not child:
    os._exit(0)
thread.join()
print(os.waitpid(child, 0)[1])
"""


def test_fork_while_another_thread_makes_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The child can make its own, though that thread is not there to finish."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", PROJECT)
    assert run(FORK_WHILE_MAKING) == "0"
