"""Clients of both libraries at once lose no update, and move amounts without loss."""

# the models of a library without types
# mypy: disallow-subclassing-any=False

import contextlib
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core.exceptions import RetryError
from google.appengine.api.datastore_errors import TransactionFailedError
from google.appengine.ext import ndb as bundled
from google.cloud import ndb as cloud

from gae_devserver.datastore_v1.contention import Contention
from tests.helpers.running_datastore import RunningDatastore

CLIENTS, ROUNDS = 16, 5
PATHS = {
    "two-groups": (("Account", "x"), ("Account", "y")),
    "one-group": (("Account", "x"), ("Account", "x", "Account", "y")),
}


class _Cloud(cloud.Model):
    amount = cloud.IntegerProperty()

    @classmethod
    def _get_kind(cls) -> str:
        return "Account"


class _Bundled(bundled.Model):
    amount = bundled.IntegerProperty()

    @classmethod
    def _get_kind(cls) -> str:
        return "Account"


MODELS: dict[Any, Any] = {cloud: _Cloud, bundled: _Bundled}


def account(ndb: Any, path: Any) -> Any:
    """Return an entity with one library."""
    return ndb.Key(*path).get()


def add(ndb: Any, paths: Any, chance: random.Random) -> None:
    """Add to one of the two."""
    found = account(ndb, chance.choice(paths))
    found.amount += 1
    found.put()


def move(ndb: Any, paths: Any, chance: random.Random) -> None:
    """Move an amount from one to the other."""
    amount = chance.randint(1, 9)
    giver, taker = (account(ndb, path) for path in chance.sample(paths, 2))
    giver.amount, taker.amount = giver.amount - amount, taker.amount + amount
    ndb.put_multi([giver, taker])


def insert(ndb: Any, paths: Any, chance: random.Random) -> None:
    """Add an entity with the number of those that a query finds."""
    ancestor = ndb.Key(*paths[0])
    found = MODELS[ndb].query(ancestor=ancestor).fetch()
    MODELS[ndb](parent=ancestor, amount=len(found)).put()


@pytest.mark.parametrize("paths", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("work", [add, move, insert])
def test_no_update_is_lost(
    running: RunningDatastore,
    client: cloud.Client,
    paths: Any,
    work: Callable[[Any, Any, random.Random], None],
) -> None:
    """16 clients, each with its own thread, on two entities or one query."""
    with client.context():
        cloud.put_multi([_Cloud(key=cloud.Key(*path), amount=0) for path in paths])

    def repeat(number: int) -> int:
        chance = random.Random(number)
        ndb = (cloud, bundled)[number % 2]
        done = 0
        with client.context(cache_policy=False):
            bundled.get_context().set_cache_policy(False)
            bundled.get_context().set_memcache_policy(False)
            while done < ROUNDS:
                options: Any = {"xg": True} if ndb is bundled else {}
                # Each library gives up after a few retries.
                with contextlib.suppress(TransactionFailedError, RetryError):
                    ndb.transaction(lambda: work(ndb, paths, chance), **options)
                    done += 1
        return done

    with running.bundled(), ThreadPoolExecutor(CLIENTS) as executor:
        done = sum(executor.map(repeat, range(CLIENTS)))
    with client.context(cache_policy=False):
        amounts = [account(cloud, path).amount for path in paths]
        below = _Cloud.query(ancestor=cloud.Key(*paths[0])).fetch()
    if work is insert:
        assert len(below) == done + (paths == PATHS["one-group"]) + 1
        new = sorted(each.amount for each in below if isinstance(each.key.id(), int))
        assert new == list(range(new[0], new[0] + done))
    else:
        assert sum(amounts) == (done if work is add else 0)


def test_contention_ends() -> None:
    """Two conflicts make transactions wait, until ten seconds pass without any."""
    now = 0.0
    contention = Contention(clock=lambda: now)
    x, y = ("", ("A", 1, "x")), ("", ("A", 1, "y"))
    for address in (x, y, y):
        contention.conflict(address)
    assert list(contention) == [y]
    now = 9
    contention.wait(y)
    now = 11
    assert contention
    assert list(contention) == [y]
    now = 20
    assert y not in contention
    assert list(contention) == []
    assert not contention
    for _ in range(2):
        contention.conflict(x)
        now += 11
    assert x not in contention, "each conflict was alone"
    contention.conflict(x)
    assert x not in contention


def test_contention_counts_who_writes() -> None:
    """Readers of an entity that do not write it end the waiting, a few by and by."""
    contention = Contention()
    x = ("", ("A", 1, "x"))
    for _ in range(9):
        contention.conflict(x)
    for written in (False, True, False, False):
        contention.settle(x, written=written)
    assert x in contention
    contention.settle(x, written=False)
    assert x not in contention
    for _ in range(9):
        contention.settle(x, written=False)
    for number in range(3000):
        contention.conflict(("", ("A", 0, number)))
        contention.conflict(("", ("A", 0, number)))
    assert len(list(contention)) == 1000
