"""shared/counter.py on the SDK's own datastore."""

import pickle
import subprocess
import sys
import threading

import pytest
from google.appengine.api import datastore_errors
from google.appengine.ext import deferred, ndb, testbed

from shared.counter import Counter, do_something_later
from tests.apps.plain_gunicorn import REPOSITORY


@pytest.fixture(autouse=True)
def _own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read counters as this Counter; other tests have models of the same name."""
    monkeypatch.setitem(ndb.Model._kind_map, "Counter", Counter)


def count_of(key: str) -> int:
    """Return the count as the datastore has it, not as a cache does."""
    return int(Counter.get_by_id(key, use_cache=False, use_memcache=False).count)


def test_first_task_makes_the_counter(services: testbed.Testbed) -> None:
    """A counter starts at 0, with the first task."""
    do_something_later("key", 10)

    assert count_of("key") == 10


def test_tasks_add_up(services: testbed.Testbed) -> None:
    """Each task adds its amount, to its own counter only."""
    for amount in (10, 20, -5):
        do_something_later("key", amount)
    do_something_later("other key", 1)

    assert count_of("key") == 25
    assert count_of("other key") == 1


def test_no_update_is_lost(
    services: testbed.Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is overtaken between its read and its write starts over."""
    do_something_later("key", 1)
    attempts = []

    def let_another_task_by(entity: Counter) -> None:
        if threading.current_thread() is threading.main_thread():
            attempts.append(entity.count)
            if len(attempts) == 1:
                other = threading.Thread(target=do_something_later, args=("key", 100))
                other.start()
                other.join()

    # ndb calls this hook before it writes, here within the transaction
    monkeypatch.setattr(Counter, "_pre_put_hook", let_another_task_by)

    do_something_later("key", 10)

    assert attempts == [11, 111]
    assert count_of("key") == 111


def test_gives_up_when_always_overtaken(
    services: testbed.Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that loses each time raises, for the queue to retry; it adds nothing."""
    do_something_later("key", 1)
    overtaken = 0

    def let_another_task_by(entity: Counter) -> None:
        nonlocal overtaken
        if threading.current_thread() is threading.main_thread():
            overtaken += 1
            other = threading.Thread(target=do_something_later, args=("key", 100))
            other.start()
            other.join()

    monkeypatch.setattr(Counter, "_pre_put_hook", let_another_task_by)

    with pytest.raises(datastore_errors.TransactionFailedError):
        do_something_later("key", 10)

    assert overtaken > 1
    assert count_of("key") == 1 + 100 * overtaken


def test_joins_a_transaction(services: testbed.Testbed) -> None:
    """Called within a transaction, it is undone with it."""

    def add_and_fail() -> None:
        do_something_later("key", 10)
        raise ndb.Rollback

    ndb.transaction(add_and_fail)

    assert Counter.get_by_id("key") is None


def test_is_pickled_by_name(services: testbed.Testbed) -> None:
    """A task names its function by module: shared.counter, not main, and no wrapper."""
    payload = deferred.serialize(do_something_later, "key", 10)

    assert pickle.loads(payload)[0] is do_something_later
    assert b"shared.counter" in payload
    assert b"do_something_later" in payload


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"GAE_ENV": "standard", "GAE_VERSION": "v1"}, "v1"),
        ({"GAE_ENV": "localdev", "GAE_VERSION": "20261122t080000"}, "localdev"),
        ({"GAE_ENV": "localdev"}, "localdev"),
        ({}, "Missing"),
    ],
)
def test_key(variables: dict[str, str], key: str) -> None:
    """Each version has a counter in production; a dev server has one in all."""
    shown = subprocess.run(
        [sys.executable, "-c", "from shared.counter import my_key; print(my_key)"],
        cwd=REPOSITORY,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert shown.stdout.strip() == key
