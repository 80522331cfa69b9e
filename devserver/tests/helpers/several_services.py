"""The app of tests/apps/services: its files, and what its services say."""

import json
from pathlib import Path
from typing import Any

from gae_devserver.testing import DevServer, Response
from tests.helpers.app_folder import copy_app

FRAMEWORKS = {"default": "Flask", "worker": "none", "admin": "Django"}
"""The services, with what each is made with."""

_FILES = ("app.yaml", "worker/worker.yaml", "admin/admin.yaml")


def copy_services(folder: Path) -> list[Path]:
    """Copy the app; return the files of its services."""
    app = copy_app("services", folder)
    return [app / file for file in _FILES]


def decoded(answer: Response) -> Any:
    """Return what a service answers."""
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def who(server: DevServer, service: str) -> Any:
    """Return what a service says about itself."""
    return decoded(server.service(service).get("/who"))


def services_of(server: DevServer, label: str) -> list[str]:
    """Return which services have run `record` with this label, a name for each run."""
    runs = [run.properties for run in server.entities("Run")]
    return [run["service"] for run in runs if run["label"] == label]
