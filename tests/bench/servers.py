"""Find the rivals, stage an app, and start it on a dev server."""

import pathlib
import shutil

from tests.bench.rows import DEV_APPSERVER, EMULATOR, HERE
from tests.servers import staging
from tests.servers.base import Server
from tests.servers.embedded import Embedded
from tools.cloud_sdk import NotInstalledError, find_dev_appserver, find_emulator

PROJECT = "sample-project"
"""The dev server's default."""


def rivals(*, alone: bool) -> list[str]:
    """Return which rivals are installed, and print what is missing."""
    found = []
    for name, find in ((DEV_APPSERVER, find_dev_appserver), (EMULATOR, find_emulator)):
        try:
            if not alone:
                find()
                found.append(name)
        except NotInstalledError as error:
            print(f"not measured: {error}")
    return found


def stage(app: str, work: pathlib.Path, *, cloud_tasks: bool = False) -> pathlib.Path:
    """Stage an app with the benchmark's module as its entrypoint.

    With `cloud_tasks`, the SDK sends its tasks to Cloud Tasks.
    """
    copy = staging.stage(app, work)
    shutil.copy(pathlib.Path(__file__).parent / "staged" / "bench_main.py", copy)
    # only the default queue, and that without limits
    (copy / "queue.yaml").unlink()
    staging.change(copy / "app.yaml", "contract_main:", "bench_main:")
    if cloud_tasks:
        text = 'env_variables:\n  APPENGINE_USE_CLOUDTASK_PUSH_QUEUE: "true"\n'
        staging.change(copy / "app.yaml", "env_variables:\n", text)
    return copy


def start(side: str, app: str, work: pathlib.Path) -> Server:
    """Start a dev server with an app; return when it is ready."""
    folder = work / side
    folder.mkdir()
    if side == HERE:
        return Embedded(stage(app, folder), folder)
    from tests.servers.dev_appserver import DevAppserver  # imports the SDK

    return DevAppserver(stage(app, folder), folder)
