"""The contract's app, which also records the library that each task counts with."""

from typing import Any

import contract_tasks
from contract_cases import case
from contract_main import app
from google.appengine.ext import deferred

from shared import counter

__all__ = ["app"]


def note_library(entity: Any) -> None:
    """Record a run, and the module of the library's Model."""
    contract_tasks.note("counted", library=type(entity).__mro__[-2].__module__)


# both libraries call this before they write an entity
counter.Counter._pre_put_hook = note_library


@case
def defer_increments(times: int, countdown: float) -> list[str]:
    """Defer the app's own function many times; return the names of the tasks."""
    function, key = counter.do_something_later, counter.my_key
    return [
        deferred.defer(function, key, 1, _countdown=countdown).name
        for _ in range(times)
    ]
