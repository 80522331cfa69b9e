"""Call an app's views on App Engine's settings, in a process of its own."""

import json
import pathlib
from typing import Any

from gae_devserver.config import app_yaml

from tests.apps.plain_gunicorn import environment, run_python, stage


def visit(name: str, folder: pathlib.Path, **variables: str | None) -> dict[str, Any]:
    """Stage an app in `folder`; return what staged_views.py sees of it.

    `variables` change what app.yaml sets; None removes a variable.
    """
    app = stage(name, folder)
    own = {**app_yaml.load_app_yaml(app).env_variables, **variables}
    given = {key: value for key, value in own.items() if value is not None}
    printed = run_python(app, environment("standard", **given), "staged_views.py")
    return dict(json.loads(printed))
