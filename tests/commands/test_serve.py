"""`nox -s serve`: any app's folder; dev_appserver.py, and nothing left at the end."""

import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until
from gae_devserver.testing.processes import descendants, wait_for_end

from tests.commands.running import MINUTES, nox, own_commands, run, start_nox
from tests.servers.base import Site
from tools import cloud_sdk, dev_appserver
from tools.leash import PATIENCE


def test_missing_sdk() -> None:
    """Without the Cloud SDK one line says what to install."""
    served = nox(
        *("-s", "serve", "--", "flask", "--server", "dev_appserver"),
        PATH=str(own_commands()),
    )

    (line,) = (x for x in served.stderr.splitlines() if "aborted" in x)
    assert served.returncode == 1
    assert cloud_sdk.INSTALL_DEV_APPSERVER in line
    assert "Traceback" not in served.stderr


@pytest.mark.parametrize("ci", ["true", ""])
def test_contract_is_skipped_without_sdk(ci: str) -> None:
    """Where the Cloud SDK is missing, so is its half of the contract, in CI too."""
    tested = nox("-s", "flask(dev_appserver)", PATH=str(own_commands()), CI=ci)

    (line,) = (x for x in tested.stderr.splitlines() if "skipped" in x)
    assert tested.returncode == 0
    assert cloud_sdk.INSTALL_DEV_APPSERVER in line
    assert tested.stdout == ""


def test_missing_packages(tmp_path: pathlib.Path) -> None:
    """Without the dev server's packages, one line says which command installs them."""
    served = run(sys.executable, "-S", "-m", "tools.serve", tmp_path)

    assert served.returncode == 1
    (line,) = served.stderr.splitlines()
    assert " gae_devserver " in line
    assert sys.executable in line
    assert "python3 noxfile.py -s serve -- flask" in line


def test_unknown_server() -> None:
    """A server that there is not is named, with those that there are."""
    served = nox("-s", "serve", "--", "flask", "--server", "apache")

    (line,) = (x for x in served.stderr.splitlines() if "aborted" in x)
    assert served.returncode == 1
    assert "'apache'" in line
    assert "embedded" in line
    assert "dev_appserver" in line


def test_option_without_a_value() -> None:
    """The line names the option."""
    served = nox("-s", "serve", "--", "flask", "--storage")

    (line,) = (x for x in served.stderr.splitlines() if "aborted" in x)
    assert served.returncode == 1
    assert "--storage" in line


class Serving:
    """The session at work, in a process group of its own, as in a terminal."""

    def __init__(
        self, work: pathlib.Path, *arguments: str, shows_url: str, ready: float
    ) -> None:
        """Serve from `work`; what is printed shows the URL within `ready` seconds."""
        self._log = work / "log"
        self._shows_url = shows_url
        self._ready = ready
        command = ("-s", "serve", "--", *arguments, "--port", "0")
        self.process = start_nox(self._log, *command, folder=work)

    @property
    def log(self) -> str:
        """What has been printed."""
        return self._log.read_text(errors="replace")

    def wait_for_answer(self) -> None:
        """Wait until the app shows its count."""

        def look() -> str | None:
            assert self.process.poll() is None, self.log
            found = re.search(self._shows_url, self.log)
            return found[1] if found else None

        site = Site(wait_until(look, "the server is ready", self._ready) or "")
        answer = site.get("/counter/get")
        assert (answer.status, answer.text) == (200, "0")


@pytest.fixture
def serving(tmp_path: pathlib.Path) -> Iterator[Serving]:
    """The session with plain_wsgi_app on dev_appserver.py, on a free port."""
    try:
        cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError as error:
        pytest.skip(str(error))
    serving = Serving(
        tmp_path,
        *("plain_wsgi", "--server", "dev_appserver"),
        shows_url=r'"default" running at: (http://\S+)',
        ready=dev_appserver.START_TIME,
    )
    yield serving
    serving.process.terminate()
    serving.process.wait(4 * PATIENCE)


def test_folder_of_an_app(tmp_path: pathlib.Path) -> None:
    """In the place of a name, a folder with app.yaml is served; the user is there."""
    copied = nox("-s", "copy", "--", "plain_wsgi", tmp_path / "my_app")
    assert copied.returncode == 0, copied.stderr

    serving = Serving(
        tmp_path, "my_app", shows_url=r"  App +(http://\S+)\n", ready=MINUTES
    )
    try:
        serving.wait_for_answer()
    finally:
        serving.process.terminate()
        status = serving.process.wait(4 * PATIENCE)

    assert status == 0, serving.log
    assert "Development server for my_app " in serving.log


def test_folder_without_an_app(tmp_path: pathlib.Path) -> None:
    """One line says that there is no such app, and which file is not there."""
    served = nox("-s", "serve", "--", "flusk", folder=tmp_path)

    (line,) = (x for x in served.stderr.splitlines() if "aborted" in x)
    assert served.returncode == 1
    assert "'flusk'" in line
    assert str(tmp_path / "flusk" / "app.yaml") in line
    assert "flask, django or plain_wsgi" in line


def test_folder_with_the_name_of_a_sample(tmp_path: pathlib.Path) -> None:
    """One line says that both are there, and how to say which."""
    copied = nox("-s", "copy", "--", "plain_wsgi", tmp_path / "flask")
    served = nox("-s", "serve", "--", "flask", folder=tmp_path)
    # here the word stands for the sample
    helped = nox("-s", "serve", "--", "flask_app", "--port", "x")

    (line,) = (x for x in served.stderr.splitlines() if "aborted" in x)
    assert copied.returncode == 0
    assert served.returncode == 1
    assert str(tmp_path / "flask") in line
    assert " ./flask" in line
    assert "--port: 'x'" in helped.stderr


@pytest.mark.parametrize(
    ("whom", "sign", "status"),
    [
        ("group", signal.SIGINT, 0),
        ("outermost", signal.SIGTERM, 0),
        ("outermost", signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["ctrl-c", "term", "kill"],
)
def test_serving_ends(
    whom: str, sign: signal.Signals, status: int, serving: Serving
) -> None:
    """Ctrl-C, SIGTERM and SIGKILL end all of it, the app's processes too."""
    serving.wait_for_answer()

    def look() -> set[int]:
        found = {serving.process.pid} | descendants(serving.process.pid)
        # the session, the command, the leash, the server, gunicorn and two workers, of
        # which one may answer before the other is there
        return found if len(found) >= 7 else set()

    family = wait_until(look, "both workers run", PATIENCE)

    if whom == "group":
        os.killpg(serving.process.pid, sign)
    else:
        serving.process.send_signal(sign)

    assert serving.process.wait(3 * PATIENCE) == status, serving.log
    wait_for_end(family, 3 * PATIENCE)
    assert "Traceback" not in serving.log
