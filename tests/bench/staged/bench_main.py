"""The contract's app with cases that only the benchmark uses."""

import time

import contract_cases
from contract_main import app
from google.appengine.ext import deferred, ndb

from shared.counter import Counter

__all__ = ["app"]

DAY = 24 * 3600


def nothing() -> None:
    """Do nothing, so that only the cost of a task is measured."""


@contract_cases.case
def enqueue_no_ops(times: int) -> None:
    """Enqueue many tasks that do nothing."""
    contract_cases.enqueue_many(deferred.serialize(nothing), times)


@contract_cases.case
def enqueue_later(first: int, times: int) -> None:
    """Enqueue many tasks that are due tomorrow."""
    contract_cases.enqueue_many(deferred.serialize(nothing), times, DAY)


@contract_cases.case
def store_entities(first: int, times: int) -> None:
    """Store many entities, with the numbers from `first` on."""
    for begin in range(first, first + times, 500):
        numbers = range(begin, min(begin + 500, first + times))
        ndb.put_multi([Counter(id=f"stored-{n}", count=n) for n in numbers])


@contract_cases.case
def defer_no_ops(times: int) -> float:
    """Defer a call again and again; return the seconds that this took.

    None of the tasks is due while the benchmark runs.
    """
    deferred.defer(nothing, _countdown=DAY)  # connects
    began = time.perf_counter()
    for _ in range(times):
        deferred.defer(nothing, _countdown=DAY)
    return time.perf_counter() - began
