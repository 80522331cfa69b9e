"""The contract's app with a case that only the benchmark uses."""

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
