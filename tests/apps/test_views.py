"""What the two counter URLs do with the SDK's own datastore and task queue."""

import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.apps.plain_gunicorn import environment, stage


@pytest.fixture(scope="module")
def seen(name: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What staged_views.py saw of an app."""
    app = stage(name, tmp_path_factory.mktemp("views"))
    script = pathlib.Path(__file__).parent / "staged" / "staged_views.py"
    shutil.copy(script, app)
    ended = subprocess.run(
        [sys.executable, script.name],
        cwd=app,
        env=environment(
            "standard", DEFERRED_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL="True"
        ),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return dict(json.loads(ended.stdout))


def test_no_counter_yet(seen: dict[str, Any]) -> None:
    """Before the first task the count is 0; reading writes nothing."""
    assert seen["first"]["status"] == "200 OK"
    assert seen["first"]["text"] == "0"
    assert seen["written"] == []


def test_count(seen: dict[str, Any]) -> None:
    """The count is what the counter of this version holds."""
    assert seen["second"]["status"] == "200 OK"
    assert seen["second"]["text"] == "7"


def test_increment(seen: dict[str, Any]) -> None:
    """The text is the page's; the count is left to the tasks."""
    assert seen["increment"]["status"] == "200 OK"
    assert seen["increment"]["text"] == "Deferred counter increment."
    assert seen["entities"] == ["('Counter', 'v1')"]


def test_three_tasks(seen: dict[str, Any]) -> None:
    """Three tasks on the default queue, due after 0, 60 and 120 s, each add 10."""
    tasks = sorted(seen["tasks"], key=lambda task: float(task["delay"]))

    assert seen["no tasks"] == []
    assert [(task["url"], task["method"]) for task in tasks] == [
        ("/_ah/queue/deferred", "POST"),
        ("/_ah/queue/deferred", "POST"),
        ("/custom/path", "POST"),
    ]
    assert [task["delay"] for task in tasks] == pytest.approx([0, 60, 120], abs=5)
    assert {task["queue"] for task in tasks} == {"default"}
    for task in tasks:
        assert task["function"] == "shared.counter.do_something_later"
        assert task["arguments"] == ["v1", 10]


def test_pickles_that_python_2_reads(seen: dict[str, Any]) -> None:
    """What app.yaml sets makes the SDK pickle tasks in protocol 0."""
    assert all(task["protocol 0"] for task in seen["tasks"])
