"""Functions for the contract to defer. Each records that it ran."""

import json
import os
import pathlib
import threading
import time
from collections.abc import Mapping
from typing import Any

from google.appengine.api import taskqueue, urlfetch
from google.appengine.ext import deferred

RUNS = pathlib.Path(os.environ["CONTRACT_RUNS"])
"""A file, not an entity: a run is recorded even if no API call works."""

PATIENCE = 20.0
"""Seconds that tasks wait for each other."""

PREFIX = "HTTP_X_APPENGINE_"


def task_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return App Engine's headers of this request, in lower case, without X-AppEngine-.

    The SDK copies the request into os.environ, which it keeps apart for each thread.
    """
    return {
        name.removeprefix(PREFIX).replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX)
    }


def note(label: str, **extra: Any) -> None:
    """Record one run, with the headers of its task."""
    run = {
        "label": label,
        "time": time.time(),
        "path": os.environ.get("PATH_INFO"),
        "method": os.environ.get("REQUEST_METHOD"),
        "content_type": os.environ.get("CONTENT_TYPE"),
        "headers": task_headers(os.environ),
        "own": {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in os.environ.items()
            if name.startswith("HTTP_") and not name.startswith(PREFIX)
        },
        "extra": extra,
    }
    # one write, because tasks in several processes append at the same time
    with RUNS.open("ab", buffering=0) as file:
        file.write(json.dumps(run).encode() + b"\n")


def keep(label: str, value: Any) -> None:
    """Record the argument as it arrived."""
    note(label, value=value)


def fail(label: str) -> None:
    """Fail each time, as a bug does."""
    note(label)
    raise ValueError("the task fails on purpose")


def fail_times(label: str, times: int) -> None:
    """Fail the first `times` attempts."""
    note(label)
    if int(task_headers(os.environ)["taskretrycount"]) < times:
        raise ValueError("the task fails on purpose")


def fail_for_good(label: str) -> None:
    """Fail so that the task is dropped."""
    note(label)
    raise deferred.PermanentTaskFailure("the task gives up on purpose")


def fail_this_time(label: str) -> None:
    """Ask for a retry without an error in the log."""
    note(label)
    raise deferred.SingularTaskFailure("the task asks for a retry on purpose")


def chain(label: str, more: int, countdown: float) -> None:
    """Defer itself `more` times."""
    note(label)
    if more:
        deferred.defer(chain, label, more - 1, countdown, _countdown=countdown)


def purge_own_queue(label: str, queue: str) -> None:
    """Purge the queue that this task came from, and then fail."""
    note(label)
    taskqueue.Queue(queue).purge()
    raise ValueError("the task fails on purpose")


def hold(label: str, seconds: float) -> None:
    """Run for so long; record start and end."""
    note(label, at="start")
    threading.Event().wait(seconds)
    note(label, at="end")


def fetch_together(label: str, number: int) -> None:
    """Fetch a page of this app as soon as this many tasks are at this point."""
    note(label, at="start")
    pause = threading.Event()
    deadline = time.monotonic() + PATIENCE
    while RUNS.read_bytes().count(b'"at": "start"') < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{number} tasks do not run at once")
        pause.wait(0.01)
    url = f"http://{os.environ['HTTP_HOST']}/counter/get"
    answer = urlfetch.fetch(url, deadline=PATIENCE)
    note(label, at="end", answer=[answer.status_code, answer.content.decode()])


class Notebook:
    """A class with methods to defer."""

    def __init__(self, label: str) -> None:
        """Name the runs after `label`; a call of the class itself records one."""
        self.label = label
        note(label)

    def write(self, value: int) -> None:
        """Record a run: a bound method is deferred with its object."""
        note(self.label, value=value)

    def __call__(self, value: int) -> None:
        """Record a run: a callable object is deferred as it is."""
        note(self.label, value=value)

    @classmethod
    def write_class(cls, label: str, value: int) -> None:
        """Record a run: a class method is deferred with its class."""
        note(label, value=value)


class Unloadable:
    """An argument that can be pickled but not unpickled."""

    def __getstate__(self) -> dict[str, int]:
        """Return some state; otherwise __setstate__ is not called."""
        return {"state": 1}

    def __setstate__(self, state: object) -> None:
        """Fail."""
        raise ValueError("this object cannot be unpickled")
