"""The environment variables that the app gets."""

import os
import sys
from pathlib import Path

import pytest

from gae_devserver.app.process import LaunchSettings, environment
from gae_devserver.app.python import OWN
from tests.helpers.calls import app_config

LAUNCH = LaunchSettings(
    project="my-project", version="v7", api_port=1234, grpc_port=4321
)


def variables(**app_yaml: object) -> dict[str, str]:
    """Return the environment that an app with such an app.yaml gets."""
    return environment(app_config(**app_yaml), LAUNCH, OWN, port=5678)


def test_it_is_app_engines() -> None:
    """The app finds the variables that it has on App Engine, and the API server."""
    given = variables(runtime="python311", service="worker", memory_mb=768)
    expected = {
        "API_HOST": "127.0.0.1",
        "API_PORT": "1234",
        "APPLICATION_ID": "dev~my-project",
        "FORWARDED_ALLOW_IPS": "*",
        "GAE_APPLICATION": "dev~my-project",
        "GAE_ENV": "localdev",
        "GAE_MEMORY_MB": "768",
        "GAE_RUNTIME": "python311",
        "GAE_SERVICE": "worker",
        "GAE_VERSION": "v7",
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "PORT": "5678",
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
    }
    assert given | expected == given
    again = variables()
    assert given["GAE_INSTANCE"] != again["GAE_INSTANCE"]
    assert given["GAE_DEPLOYMENT_ID"] == again["GAE_DEPLOYMENT_ID"]
    assert given["GAE_DEPLOYMENT_ID"].isdecimal()


def test_variables_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that would mislead the SDK, or name another server, are dropped."""
    bad = {
        "APPENGINE_USE_CUSTOM_IMAGES_GRPC_SERVICE",
        "APPENGINE_USE_SMTP_MAIL_SERVICE",
        "DATASTORE_APP_ID",
        "DATASTORE_PROJECT_ID",
        "SERVER_SOFTWARE",
    }
    replaced = {
        "CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:4321",
        "DATASTORE_EMULATOR_HOST": "127.0.0.1:4321",
        "GAE_ENV": "localdev",
        "LOCATION_ID": "us-central1",
        "TZ": "UTC",
    }
    for name in (*bad, *replaced, "COLOR", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    given = variables()
    assert not given.keys() & bad
    assert given | replaced | {"COLOR": "x"} == given
    assert "x" not in given["PYTHONPATH"].split(os.pathsep)


def test_variables_of_app_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """app.yaml overrides the shell and the server, but not App Engine's variables."""
    monkeypatch.setenv("COLOR", "of the shell")
    own = {
        "APPENGINE_USE_CLOUDTASK_PUSH_QUEUE": "true",
        "CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:98",
        "COLOR": "blue",
        "DATASTORE_EMULATOR_HOST": "127.0.0.1:99",
        "GAE_USE_SOCKETS_HTTPLIB": "1",
        "LOCATION_ID": "europe-west1",
        "PYTHONUNBUFFERED": "",
        "TZ": "Europe/Paris",
    }
    reserved = {
        "API_PORT": "2",
        "DATASTORE_PROJECT_ID": "p",
        "GAE_ENV": "x",
        "PORT": "1",
    }
    given = variables(env_variables=own | reserved)
    assert given | own == given
    assert not given.items() & reserved.items()


@pytest.mark.parametrize(
    ("own", "added"), [({}, []), ({"PYTHONPATH": "a:"}, ["a", ""])]
)
def test_python_path(own: dict[str, str], added: list[str]) -> None:
    """The server's folder is first; what app.yaml names follows."""
    folder, *others = variables(env_variables=own)["PYTHONPATH"].split(os.pathsep)
    assert (Path(folder) / "sitecustomize.py").is_file()
    assert others == added


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (("", ""), ("", "")),
        (("", "a.test"), ("a.test,", "a.test,")),
        (("a.test", ""), ("a.test,", "a.test,")),
        (("a.test", "b.test"), ("a.test,", "b.test,")),
    ],
)
def test_no_proxy_for_loopback(
    monkeypatch: pytest.MonkeyPatch, users: tuple[str, str], expected: tuple[str, str]
) -> None:
    """No proxy is asked for the server's own ports; the user's exceptions stay."""
    names = ("no_proxy", "NO_PROXY")
    for name, value in zip(names, users, strict=True):
        monkeypatch.setenv(name, value)
    given = variables()
    assert "no_grpc_proxy" not in given
    for name, value in zip(names, expected, strict=True):
        assert given[name] == f"{value}localhost,127.0.0.1,::1"


def test_no_grpc_proxy_for_loopback() -> None:
    """The variable of gRPC alone replaces the others, so it gets the same addresses."""
    given = variables(env_variables={"no_grpc_proxy": "a.test"})
    assert given["no_grpc_proxy"] == "a.test,localhost,127.0.0.1,::1"


def test_programs_of_this_python_are_found_first() -> None:
    """The gunicorn beside this Python runs, even if no environment is activated."""
    own, *others = variables()["PATH"].split(os.pathsep)
    assert own == str(Path(sys.executable).parent)
    assert others == os.environ["PATH"].split(os.pathsep)
