"""What connects google-cloud-tasks to the server, in a Python of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gae_devserver

CONNECT = Path(gae_devserver.__file__).with_name("app") / "connect"
TRANSPORTS = "services/cloud_tasks/transports"
CLIENT = "class CloudTasksClient: pass"
IMPORT_CLIENT = "from google.cloud.tasks_v2 import CloudTasksClient"
# The library from PyPI, in the tests' environment.
LIBRARY = "from google.cloud import tasks_v2\n"


def run(
    code: str, *folders: Path, connected: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run code with the server's folder and others on PYTHONPATH."""
    path = [CONNECT, *folders] if connected else folders
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables | {"PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )


def make_library(folder: Path, **modules: str) -> Path:
    """Make a google-cloud-tasks whose package imports the client of some module."""
    package = folder / "google/cloud/tasks_v2"
    (package / TRANSPORTS).mkdir(parents=True)
    path = "." + TRANSPORTS.replace("/", ".")
    for name, text in modules.items():
        (package / TRANSPORTS / f"{name}.py").write_text(text)
    imports = [f"from {path}.{name} import CloudTasksClient" for name in modules]
    (package / "__init__.py").write_text("\n".join(imports) or CLIENT)
    return folder


@pytest.mark.parametrize(
    "hidden",
    [
        None,
        "import sys; sys.path.insert(0, 'mine'); sys.marker = 1",
        "1/0",
        "import not_there",
    ],
)
def test_a_sitecustomize_of_the_user(tmp_path: Path, hidden: str | None) -> None:
    """It runs as without the server: the same module, path, messages and status."""
    if hidden is not None:
        (tmp_path / "sitecustomize.py").write_text(hidden)
    code = (
        "import sys, importlib.util\n"
        "print(sys.path, hasattr(sys, 'marker'))\n"
        "import sitecustomize; print(sitecustomize.__file__)"
    )
    results = [run(code, tmp_path, connected=value) for value in (True, False)]
    with_it, without = [(found.stdout, found.stderr) for found in results]
    if hidden is None:  # the server's own is the only one
        assert with_it[0].startswith(without[0])
    else:
        assert with_it == without


@pytest.mark.parametrize("failure", ["1/0", "import not_there", "raise SystemExit(7)"])
def test_a_module_that_fails(tmp_path: Path, failure: str) -> None:
    """The traceback is the one that it has without the server."""
    library = make_library(tmp_path, base=failure)
    with_it, without = [
        run(IMPORT_CLIENT, library, connected=value) for value in (True, False)
    ]
    assert with_it.returncode == without.returncode != 0
    assert with_it.stderr == without.stderr


BASE = f"class CloudTasksTransport: pass\n{CLIENT}"
TRANSPORT = """\
from .base import CloudTasksTransport

class Transport(CloudTasksTransport):
    def __init__(self, way=None): pass

class CloudTasksClient:
    def __init__(self): Transport()
"""


@pytest.mark.parametrize(
    "modules",
    [
        {},
        {"base": CLIENT},
        {"base": BASE, "quic": TRANSPORT},
        {"base": BASE, "grpc": TRANSPORT},
    ],
    ids=["no transports", "no base", "another transport", "other arguments"],
)
def test_an_unknown_release(tmp_path: Path, modules: dict[str, str]) -> None:
    """An app with a release of another structure starts; its clients fail."""
    code = f"{IMPORT_CLIENT}; print('on', flush=True); CloudTasksClient()"
    made = run(code, make_library(tmp_path, **modules))
    assert made.stdout == "on\n"
    first, *_, last = made.stderr.splitlines()
    assert first.startswith("warning: ")
    assert "Error: " in last
    assert "google-cloud-tasks" in last


def test_without_an_address() -> None:
    """A client that has no emulator fails; it does not fall back to Google."""
    made = run(f"{LIBRARY}tasks_v2.CloudTasksClient()", CLOUD_TASKS_EMULATOR_HOST="")
    assert "CLOUD_TASKS_EMULATOR_HOST" in made.stderr.splitlines()[-1]


def test_what_a_connected_library_shows() -> None:
    """Its loaders and its signatures are those that it has without the server."""
    code = LIBRARY + (
        "import importlib.resources, inspect\n"
        "from google.cloud.tasks_v2.services.cloud_tasks import transports\n"
        "print(vars(transports.base.__loader__), vars(tasks_v2.__loader__))\n"
        "print(importlib.resources.files(tasks_v2).joinpath('py.typed').is_file())\n"
        "for kind in ('Grpc', 'GrpcAsyncIO', 'Rest'):\n"
        "    transport = getattr(transports, f'CloudTasks{kind}Transport')\n"
        "    print(*inspect.signature(transport).parameters)\n"
        "    print(inspect.getsource(transport))\n"
    )
    with_it, without = [run(code, connected=value) for value in (True, False)]
    assert with_it.stdout == without.stdout
    assert with_it.stdout
