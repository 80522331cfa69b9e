"""The contract's app with cases that only the benchmark uses."""

import time

import contract_cases
from contract_main import app
from google.appengine.ext import deferred

__all__ = ["app"]


def nothing() -> None:
    """Do nothing, so that only the cost of a task is measured."""


@contract_cases.case
def enqueue_no_ops(times: int) -> None:
    """Enqueue many tasks that do nothing."""
    contract_cases.enqueue_many(deferred.serialize(nothing), times)


@contract_cases.case
def defer_no_ops(times: int) -> float:
    """Defer a call again and again; return the seconds that this took.

    None of the tasks is due while the benchmark runs.
    """
    deferred.defer(nothing, _countdown=24 * 3600)  # connects
    began = time.perf_counter()
    for _ in range(times):
        deferred.defer(nothing, _countdown=24 * 3600)
    return time.perf_counter() - began
