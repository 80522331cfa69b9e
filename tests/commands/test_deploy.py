"""`nox -s deploy`, as far as it can be seen without a project of Google Cloud's.

What is real: gcloud, its list of the files to upload, its parser, and that nobody is
logged in. What is not: for the steps after that, a stand-in takes the place of gcloud;
it writes down what it is asked, and names a dev server as the deployed version.
"""

import os
import pathlib
import re
import signal
import sys
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until
from ruamel.yaml import YAML

from tests.commands import gcloud
from tests.commands.pages import blocks, first_cells, page, section
from tests.commands.running import MINUTES, Run, nox, own_commands, start_nox
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

NEEDED = {"app.yaml", "main.py", "requirements.txt"} | {
    f"shared/{path.name}" for path in (REPOSITORY / "shared").glob("*.py")
}

JUNK = [
    *("__pycache__/main.pyc", "shared/__pycache__/x.pyc", "main.pyc"),
    *(".venv/bin/x", "venv/bin/x", "env/bin/x", ".nox/unit/bin/x"),
    *(".pytest_cache/x", ".mypy_cache/x", ".ruff_cache/x", ".hypothesis/x"),
    *(".coverage", ".env", ".env.local", ".idea/x", ".vscode/x", ".DS_Store"),
    *(".git/config", ".gitignore"),
    *("tests/data", "test_counter.py", "counter_test.py", "conftest.py"),
]
"""What a developer leaves in a folder, for no version to have."""

RIGHT = ("flask", "--project", "p")
"""Arguments with no mistake."""

WHICH = "v1 --service=default --project=my-id"
"""How gcloud is told of which version something is wanted."""

STAND_IN = """\
#!{python}
import pathlib, sys, time
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as asked:
    print(*sys.argv[1:], file=asked)
match sys.argv[1:]:
    case ["auth", "list", *_]:
        print("someone@example.com")
    case ["app", "deploy", app_yaml, *_]:
        app = pathlib.Path(app_yaml).parent
        with (here / "deployed").open("w") as deployed:
            for path in sorted(app.rglob("*")):
                kind = "link" if path.is_symlink() else "file"
                if path.is_symlink() or path.is_file():
                    print(kind, path.relative_to(app), file=deployed)
        if (here / "deploy takes long").exists():
            time.sleep(600)
        sys.exit((here / "deploy fails").exists())
    case ["app", "versions", "describe", *_]:
        print((here / "url").read_text())
"""


class StandIn:
    """A folder with a command that is asked in gcloud's place."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        command = folder / "gcloud"
        command.write_text(STAND_IN.format(python=sys.executable))
        command.chmod(0o755)

    def deploy(self, *arguments: str) -> Run:
        """Run the session, with the tests that need no time."""
        words = ("plain_wsgi", "--project", "my-id", *arguments, "-k", "not schedule")
        return nox("-s", "deploy", "--", *words, PATH=self.path)

    @property
    def path(self) -> str:
        """A PATH on which it is found, and no other gcloud."""
        return f"{self.folder}:{own_commands()}"

    @property
    def asked(self) -> list[str]:
        """What it was asked, without its first question, who is logged in."""
        first, *others = (self.folder / "asked").read_text().splitlines()
        assert first.startswith("auth list ")
        return others


@pytest.fixture
def stand_in(tmp_path: pathlib.Path) -> StandIn:
    """A stand-in that has deployed to an address where nothing answers."""
    (tmp_path / "url").write_text("http://127.0.0.1:9")  # the discard port
    return StandIn(tmp_path)


# --- what gcloud makes of the apps ----------------------------------------------------


@pytest.fixture(params=["as it is", "copied"])
def folder(
    request: pytest.FixtureRequest, app: str, tmp_path: pathlib.Path
) -> pathlib.Path:
    """An app's folder in the repository, or a copy with what a developer leaves."""
    if request.param == "as it is":
        return REPOSITORY / APPS[app]
    copied = nox("-s", "copy", "--", app, tmp_path / "copy")
    assert copied.returncode == 0, copied.stderr
    for junk in JUNK:
        path = tmp_path / "copy" / junk
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "copy"


@pytest.mark.parametrize("app", APPS)
def test_files_to_upload(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """What an app needs is uploaded, and no test, no cache and no environment."""
    listed = gcloud.gcloud(
        "meta", "list-files-for-upload", folder, config=tmp_path / "config"
    )

    assert listed.returncode == 0, listed.stderr
    assert set(listed.stdout.splitlines()) == NEEDED


@pytest.mark.parametrize("app", APPS)
def test_app_yaml_is_what_gcloud_expects(app: str) -> None:
    """The parser that `gcloud app deploy` uses reads what the app means."""
    found = gcloud.parse(REPOSITORY / APPS[app] / "app.yaml")

    assert found["environment"] == "STANDARD"
    assert found["runtime"] == "python313"
    assert found["app_engine_apis"] is True
    assert "service" not in found
    # it puts exec there itself; a second one would fail
    assert found["entrypoint"] == (
        "exec gunicorn --config shared/gunicorn_conf.py main:app"
    )
    pickles = "DEFERRED_USE_CROSS_COMPATIBLE_PICKLE_PROTOCOL"
    assert found["env_variables"][pickles] == "True"


def test_parser_finds_a_mistake(tmp_path: pathlib.Path) -> None:
    """A word that gcloud does not know is refused, or the test above says nothing."""
    text = (REPOSITORY / "flask_app" / "app.yaml").read_text()
    (tmp_path / "app.yaml").write_text(text.replace("entrypoint:", "entrypiont:"))

    with pytest.raises(ValueError, match="entrypiont"):
        gcloud.parse(tmp_path / "app.yaml")


def test_what_gcloud_refuses_of_python_2(tmp_path: pathlib.Path) -> None:
    """Of the app.yaml for Python 2 that the page shows, it refuses four settings."""
    old_yaml, *_ = blocks(page("docs/python2-to-python3.md"), "yaml")
    old = YAML(typ="safe", pure=True).load(old_yaml)
    found = set()
    for name in old.keys() - {"runtime"}:
        with (tmp_path / "app.yaml").open("w") as file:
            settings = {"runtime": "python313", name: old[name]}
            YAML(typ="safe", pure=True).dump(settings, file)
        try:
            gcloud.parse(tmp_path / "app.yaml")
        except ValueError:
            found.add(name)

    assert found == {"application", "version", "threadsafe", "libraries"}


def test_options_are_documented() -> None:
    """docs/your-app.md has a row for each option of the command, and no other."""
    shown = nox("-s", "deploy", "--", "--help").stdout
    table = first_cells(section(page("docs/your-app.md"), "Deploy"))

    options = set(re.findall(r"--[\w-]+", shown.partition("\n\n")[2]))
    assert set(re.findall(r"--[\w-]+", table)) == options - {"--help"}


# --- what is missing ------------------------------------------------------------------


def reason(deployed: Run) -> str:
    """Return the one line that says why nothing was deployed."""
    (line,) = (x for x in deployed.stderr.splitlines() if "aborted" in x)
    assert deployed.returncode == 1
    assert deployed.stdout == ""
    assert "Traceback" not in deployed.stderr
    # a slow machine adds how long it took
    return re.sub(r"( \(took .*\))?\.$", "", line.partition(" aborted: ")[2])


def test_missing_gcloud() -> None:
    """Without gcloud one line says where it is to be had."""
    deployed = nox(
        "-s", "deploy", "--", "flask", "--project", "p", PATH=str(own_commands())
    )

    assert "https://cloud.google.com/sdk/docs/install" in reason(deployed)


def test_missing_login(tmp_path: pathlib.Path) -> None:
    """Where gcloud has no account, one line says how to log in."""
    gcloud.find_gcloud()

    deployed = nox(
        *("-s", "deploy", "--", "flask", "--project", "p"),
        CLOUDSDK_CONFIG=str(tmp_path),
    )

    assert reason(deployed).endswith("gcloud auth login")


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["flask"], "the following arguments are required: --project"),
        (["flask", "--project"], "argument --project: expected one argument"),
        (["flusk", "--project", "p"], "'flusk'"),
        ([], "the following arguments are required: APP, --project"),
        (["flask", "--project", ""], "argument --project: "),
        ([*RIGHT, "--version="], "argument --version: "),
        ([*RIGHT, "--delte"], "unrecognized arguments: --delte"),
        ([*RIGHT, "--promote"], "unrecognized arguments: --promote"),
        ([*RIGHT, "--verison", "v1"], "unrecognized arguments: --verison v1"),
        ([*RIGHT, "django"], "file or directory not found: django"),
        ([*RIGHT, "django_app"], "unrecognized arguments: django_app"),
        ([*RIGHT, "tests/contract"], "unrecognized arguments: tests/contract"),
        ([*RIGHT, "-k", "typo"], "no test"),
        ([*RIGHT, "--markers"], "no test"),
    ],
)
def test_mistake_in_the_arguments(
    arguments: list[str], mistake: str, stand_in: StandIn
) -> None:
    """One line names what is missing or wrong, and a command that is right.

    Nothing is asked of gcloud: a version that is deployed costs money until somebody
    deletes it.
    """
    deployed = nox("-s", "deploy", "--", *arguments, PATH=stand_in.path)

    assert mistake in reason(deployed)
    example = "python3 noxfile.py -s deploy -- flask --project my-id"
    assert reason(deployed).endswith(example)
    assert not (stand_in.folder / "asked").exists()


def test_help() -> None:
    """What the session takes is shown, and nothing is done."""
    deployed = nox("-s", "deploy", "--", "flask", "--project", "p", "--help")

    assert deployed.returncode == 0
    assert "--version NAME" in deployed.stdout
    assert "aborted" not in deployed.stderr


# --- the steps ------------------------------------------------------------------------


@pytest.fixture
def deployed_to(stand_in: StandIn, tmp_path: pathlib.Path) -> Iterator[str]:
    """The address of a dev server, which the stand-in says to have deployed to."""
    server = Embedded(REPOSITORY / "plain_wsgi_app", tmp_path)
    (tmp_path / "url").write_text(server.url)
    yield server.url
    server.stop()


def test_version_is_deployed_tested_and_kept(
    stand_in: StandIn, deployed_to: str
) -> None:
    """A copy without links is deployed, not promoted; the URL is tested and shown."""
    deployed = stand_in.deploy("--version", "v1")

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    deploy, describe = stand_in.asked
    assert deploy.endswith(
        "/app.yaml --project=my-id --version=v1 --no-promote --quiet"
    )
    assert describe == f"app versions describe {WHICH} --format=value(versionUrl)"
    files = (stand_in.folder / "deployed").read_text().splitlines()
    assert set(files) == {f"file {name}" for name in {*NEEDED, ".gcloudignore"}}
    assert " passed, 1 deselected" in deployed.stdout
    assert f"deployed: {deployed_to}\n" in deployed.stderr
    assert f"gcloud app versions delete {WHICH}" in deployed.stderr


def test_version_is_deleted_on_request(stand_in: StandIn, deployed_to: str) -> None:
    """With --delete the version is deleted after the tests; its name is made up."""
    deployed = stand_in.deploy("--delete")

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    deploy, _, delete = stand_in.asked
    (version,) = (x for x in deploy.split() if x.startswith("--version="))
    name = version.removeprefix("--version=")
    # App Engine takes letters, digits and hyphens only
    assert name.startswith("plain-wsgi-2")
    assert "_" not in name
    assert delete == (
        f"app versions delete {name} --service=default --project=my-id --quiet"
    )


def test_version_that_fails_is_deleted_too(stand_in: StandIn) -> None:
    """With --delete a version is deleted if it fails its tests; the session fails."""
    deployed = stand_in.deploy("--delete", "--version", "v1")

    assert deployed.returncode == 1
    assert "does not answer" in deployed.stdout
    assert stand_in.asked[-1] == f"app versions delete {WHICH} --quiet"


def test_failed_deployment_is_the_end(stand_in: StandIn) -> None:
    """Where gcloud fails to deploy, nothing is tested and nothing deleted."""
    (stand_in.folder / "deploy fails").touch()

    deployed = stand_in.deploy("--delete")

    assert deployed.returncode == 1
    assert len(stand_in.asked) == 1
    assert deployed.stdout == ""


@pytest.mark.parametrize("mishap", ["deploy fails", "deploy takes long"])
def test_deployment_that_does_not_end_well(
    mishap: str, stand_in: StandIn, tmp_path: pathlib.Path
) -> None:
    """A line says how to delete what gcloud may have made by then."""
    (stand_in.folder / mishap).touch()
    log = tmp_path / "log"
    words = ("flask", "--project", "my-id", "--version", "v1", "--delete")
    deploying = start_nox(log, "-s", "deploy", "--", *words, PATH=stand_in.path)
    if mishap == "deploy takes long":
        wait_until((stand_in.folder / "deployed").exists, "gcloud is at work")
        os.killpg(deploying.pid, signal.SIGINT)

    assert deploying.wait(MINUTES) != 0
    delete = f"gcloud app versions delete {WHICH} --quiet"
    assert len([x for x in log.read_text().splitlines() if delete in x]) == 1
