"""The SDK's import of the client of Cloud Tasks, which waits until the app needs it."""

from pathlib import Path

import pytest

from tests.unit.app.test_connect import run

VARIABLE = "APPENGINE_USE_CLOUDTASK_PUSH_QUEUE"
LOADED = "\nprint('google.cloud.tasks_v2' in sys.modules, 'grpc' in sys.modules)\n"
SDK = (
    "import os, sys\n"
    "from google.appengine.api.taskqueue import cloudtask, taskqueue\n"
    "enabled = cloudtask.is_cloudtask_push_queue_enabled\n"
)
ENABLE = f"os.environ['{VARIABLE}'] = 'true'\n"


def printed(code: str, *folders: Path, **variables: str) -> list[str]:
    """Return the lines that code prints."""
    made = run(code, *folders, connected=True, **variables)
    assert made.returncode == 0, made.stderr
    return made.stdout.splitlines()


def test_an_app_without_cloud_tasks() -> None:
    """Neither the import of the SDK nor the question whether it is enabled loads it."""
    assert printed(SDK + "print(enabled())" + LOADED) == ["False", "False False"]


def test_a_variable_that_is_set() -> None:
    """The SDK imports all as without the server."""
    assert printed(SDK + LOADED, **{VARIABLE: "true"}) == ["True True"]


def test_a_variable_that_is_set_later() -> None:
    """The SDK has the modules themselves once it finds that they are enabled."""
    code = (
        f"{SDK}{ENABLE}print(enabled())\n"
        "from google.api_core import exceptions\n"
        "from google.cloud import tasks_v2\n"
        "print(cloudtask.tasks_v2 is tasks_v2, "
        "cloudtask.google_exceptions is exceptions)"
    )
    assert printed(code) == ["True", "True True"]


def test_other_imports_of_the_same_modules() -> None:
    """The app gets the modules themselves, also while a thread imports the SDK."""
    code = (
        "import sys, threading, types\n"
        "def load(): import google.appengine.api.taskqueue.taskqueue\n"
        "thread = threading.Thread(target=load); thread.start()\n"
        "from google.cloud import tasks_v2\n"
        "from google.api_core import exceptions, retry\n"
        "thread.join()\n"
        "modules = tasks_v2, exceptions, retry\n"
        "print(all(type(module) is types.ModuleType for module in modules))\n"
        "print(tasks_v2 is sys.modules['google.cloud.tasks_v2'])\n"
        "print(__import__.__module__)"
    )
    assert printed(code) == ["True", "True", "builtins"]


def test_what_a_test_replaces() -> None:
    """A mock in the SDK's modules is seen by the SDK, and by those that import them."""
    code = (
        f"{SDK}import unittest.mock\n"
        "name = 'google.appengine.api.taskqueue.cloudtask.tasks_v2.CloudTasksClient'\n"
        "with unittest.mock.patch(name) as mock:\n"
        "    from google.cloud import tasks_v2\n"
        "    print(tasks_v2.CloudTasksClient is mock)\n"
        "    print(cloudtask.tasks_v2.CloudTasksClient is mock)\n"
        "print(tasks_v2.CloudTasksClient is mock)\n"
        "try: raise cloudtask.google_exceptions.NotFound('gone')\n"
        "except cloudtask.google_exceptions.NotFound: print('caught')"
    )
    assert printed(code) == ["True", "True", "False", "caught"]


@pytest.mark.parametrize("missing", ["google.api_core.retry", "proto"])
def test_packages_that_are_broken(missing: str) -> None:
    """The SDK reports its own error when Cloud Tasks is enabled, and runs without."""
    code = (
        f"import sys; sys.modules['{missing}'] = None\n{SDK}print(enabled())\n{ENABLE}"
        "try: enabled()\n"
        "except ImportError as error: print(error)\n"
        "print(cloudtask.tasks_v2)"
    )
    first, error, module = printed(code)
    assert (first, module) == ("False", "None")
    assert error.startswith(f"{VARIABLE} is set, but google-cloud-tasks")


def test_another_release_of_the_sdk(tmp_path: Path) -> None:
    """A module that uses what it imports in another way has the modules themselves."""
    release = (
        b"from google.cloud import tasks_v2\n"
        b"class Client(tasks_v2.CloudTasksClient): pass\n"
        b"google_exceptions = None\n"
    )
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery as m\n"
        "own = m.SourceFileLoader.get_data\n"
        "def get_data(self, path):\n"
        "    if 'taskqueue/__pycache__/cloudtask.' in path: raise OSError\n"
        "    replaced = path.endswith('taskqueue/cloudtask.py')\n"
        f"    return {release!r} if replaced else own(self, path)\n"
        "m.SourceFileLoader.get_data = get_data\n"
    )
    code = (
        "from google.appengine.api.taskqueue import cloudtask\n"
        "from google.cloud import tasks_v2\n"
        "print(cloudtask.tasks_v2 is tasks_v2, "
        "issubclass(cloudtask.Client, tasks_v2.CloudTasksClient))"
    )
    assert printed(code, tmp_path, PYTHONDONTWRITEBYTECODE="1") == ["True True"]
