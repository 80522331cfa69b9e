"""What an app answers and defers on App Engine, with the SDK's stubs behind it."""

import base64
import json
import pathlib
import pickle

import pytest
from gae_devserver.config import app_yaml

from shared.counter import do_something_later
from tests.apps.plain_gunicorn import environment, run_python, stage


def test_views(name: str, tmp_path: pathlib.Path) -> None:
    """Views and guard keep to WSGI; three tasks for this version's counter are queued.

    Neither page writes an entity: that is left to the tasks.
    """
    app = stage(name, tmp_path)
    variables = environment("standard", **app_yaml.load_app_yaml(app).env_variables)
    seen = json.loads(run_python(app, variables, "staged_views.py"))

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
