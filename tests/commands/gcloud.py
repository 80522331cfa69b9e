"""The Google Cloud CLI: gcloud without an account, and its parser of app.yaml."""

import json
import pathlib
import shutil
from typing import Any

import pytest

from tests.commands.running import Run, run

PARSE = """
import json, sys
root, app_yaml = sys.argv[1:]
sys.path[:0] = [root + "/lib", root + "/lib/third_party"]
from googlecloudsdk.api_lib.app import yaml_parsing
service = yaml_parsing.ServiceYamlInfo.FromFile(app_yaml)
found = {**service.parsed.ToDict(), "environment": service.env.name}
print(json.dumps(found, default=str))
"""
"""What `gcloud app deploy` does with an app.yaml after it has checked the account."""


def find_gcloud() -> pathlib.Path:
    """Return the path of gcloud, or skip the test."""
    found = shutil.which("gcloud")
    if found is None:
        pytest.skip(
            "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
        )
    return pathlib.Path(found).resolve()


def gcloud(*arguments: pathlib.Path | str, config: pathlib.Path) -> Run:
    """Run gcloud with the configuration in a folder, not with the user's."""
    return run(find_gcloud(), *arguments, CLOUDSDK_CONFIG=str(config))


def parse(app_yaml: pathlib.Path) -> dict[str, Any]:
    """Return what the parser of gcloud reads in an app.yaml; raise ValueError."""
    root = find_gcloud().parents[1]
    if not (root / "lib" / "googlecloudsdk").is_dir():
        pytest.skip("the folder of gcloud does not contain its library")
    # gcloud's own Python, where there is one
    bundled = root / "platform/bundledpythonunix/bin/python3"
    python = bundled if bundled.is_file() else "python3"
    parsed = run(python, "-S", "-c", PARSE, root, app_yaml)
    if parsed.returncode:
        raise ValueError(parsed.stderr)
    return json.loads(parsed.stdout)
