"""What an app answers and defers on App Engine, with the SDK's stubs behind it."""

import base64
import pathlib
import pickle

import pytest

from shared.counter import do_something_later
from tests.apps.views import visit


def test_views(name: str, tmp_path: pathlib.Path) -> None:
    """Views and guard keep to WSGI; three tasks for this version's counter are queued.

    Neither page writes an entity: that is left to the tasks.
    """
    seen = visit(name, tmp_path)

    assert seen["count"] == ["200 OK", "0"]
    assert seen["increment"] == ["200 OK", "Deferred counter increment."]
    assert seen["get of a handler"][0] == "405 Method Not Allowed"
    assert seen["forged"][0] == "403 Forbidden"
    assert seen["entities"] == 0
    tasks = sorted(seen["tasks"], key=lambda task: float(task["delay"]))
    assert [(task["method"], task["url"]) for task in tasks] == [
        ("POST", "/_ah/queue/deferred"),
        ("POST", "/_ah/queue/deferred"),
        ("POST", "/custom/path"),
    ]
    assert [task["delay"] for task in tasks] == pytest.approx([0, 60, 120], abs=5)
    # docs/python2-to-python3.md: a task goes to the host at which it was queued
    assert {task["host"] for task in tasks} == {"example.appspot.com"}
    for task in tasks:
        function, arguments, _ = pickle.loads(base64.b64decode(task["payload"]))
        assert (function, arguments) == (do_something_later, ("v1", 10))
