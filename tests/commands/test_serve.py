"""`nox -s serve` serves any app's folder, or one line says why not."""

import pathlib
import sys
from urllib.parse import urlsplit

import pytest
from gae_devserver.testing.requests import send

from tests.commands.running import COMMANDS, nox, reason, run, start_nox
from tools import cloud_sdk

HELLO = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{}"]
"""


def test_folder_of_an_app(tmp_path: pathlib.Path, own_cache: dict[str, str]) -> None:
    """A folder with app.yaml gets an environment; it is relative to the user's."""
    copied = nox("-s", "copy", "--", "plain_wsgi", tmp_path / "my_app")
    assert copied.returncode == 0, copied.stderr

    command = ("-s", "serve", "--", "my_app", "--port", "0")
    with start_nox(*command, work=tmp_path, **own_cache) as serving:
        url = serving.wait_for(r"^  App +(http://\S+)$")
        assert send(url, "GET", "/counter/get").text == "0"

    assert "my_app/requirements.txt for Python" in serving.log
    assert "Development server for my_app " in serving.log


def test_files_of_several_services(
    tmp_path: pathlib.Path, own_cache: dict[str, str]
) -> None:
    """Each file is relative to the user's folder; the services get environments."""
    for name in ("default", "worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(HELLO.format(name))
        text = f"runtime: python313\nservice: {name}\n"
        (tmp_path / name / f"{name}.yaml").write_text(text)
        (tmp_path / name / "requirements.txt").touch()

    files = ("default/default.yaml", "worker/worker.yaml")
    with start_nox(
        "-s", "serve", "--", *files, "--port", "0", work=tmp_path, **own_cache
    ) as serving:
        url = serving.wait_for(r"^  App +(http://\S+)$")
        for name in ("default", "worker"):
            host = f"{name}.localhost:{urlsplit(url).port}"
            answer = send(url, "GET", "/", {"Host": host})
            assert answer.text == name


def test_help() -> None:
    """--help shows the options of the session, and those of the chosen server."""
    embedded = nox("-s", "serve", "--", "--help")
    google = nox("-s", "serve", "--", "--server", "dev_appserver", "-h")

    for result in (embedded, google):
        assert result.returncode == 0
        assert "--server {embedded,dev_appserver}" in result.stdout
    assert "--task-deadline SECONDS" in embedded.stdout
    assert "--task-deadline" not in google.stdout
    assert "--port PORT" in google.stdout


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        ("serve -- flask --server dev_appserver", "aborted"),
        ("flask(dev_appserver)", "skipped"),
    ],
)
def test_missing_sdk(command: str, outcome: str) -> None:
    """One line says what to install; the contract is skipped, in CI too."""
    ended = nox("-s", *command.split(), PATH=str(COMMANDS), CI="true")

    assert cloud_sdk.INSTALL_DEV_APPSERVER in reason(ended, outcome)


def test_missing_packages(tmp_path: pathlib.Path) -> None:
    """Without the dev server's packages, one line says which command installs them."""
    served = run(sys.executable, "-S", "-m", "tools.serve", tmp_path)

    assert served.returncode == 1
    (line,) = served.stderr.splitlines()
    assert " gae_devserver " in line
    assert sys.executable in line
    assert "python3 noxfile.py -s serve -- flask" in line


def test_app_without_shared(tmp_path: pathlib.Path) -> None:
    """If an app imports `shared` and lacks it, a line says how to copy the app."""
    (tmp_path / "app.yaml").write_text(
        "runtime: python313\nentrypoint: python main.py\n"
    )
    (tmp_path / "main.py").write_text("import shared.counter\n")

    served = nox("-s", "serve", "--", tmp_path, "--port", "0")

    assert served.returncode == 1
    (line,) = (x for x in served.stderr.splitlines() if "error: " in x)
    assert "python3 noxfile.py -s copy -- flask" in line
