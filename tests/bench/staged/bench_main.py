"""The contract's app with a case that only the benchmark uses."""

import os
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
def defer_no_ops(times: int, cloud: bool = False) -> float:
    """Defer one by one, through either service; return how many a second."""
    # the SDK reads this for each call
    os.environ["APPENGINE_USE_CLOUDTASK_PUSH_QUEUE"] = str(cloud)
    deferred.defer(nothing, _countdown=3600)
    began = time.perf_counter()
    for _ in range(times):
        deferred.defer(nothing, _countdown=3600)
    return times / (time.perf_counter() - began)
