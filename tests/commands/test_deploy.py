"""`nox -s deploy`, as far as it can be tested without a project of Google Cloud.

gcloud itself lists the files to upload, and has no account. For the
later steps, a script replaces gcloud: it records its arguments, and names a dev server
as the deployed version.
"""

import os
import pathlib
import re
import shutil
import signal
import sys

import pytest
from gae_devserver.testing import wait_until

from tests.commands.pages import first_cells, page, section
from tests.commands.running import COMMANDS, MINUTES, Run, nox, reason, run, start_nox
from tests.commands.test_copy import FILES
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

JUNK = """
    __pycache__/main.pyc shared/__pycache__/x.pyc main.pyc .venv/bin/x venv/bin/x
    env/bin/x .nox/unit/bin/x .pytest_cache/x .mypy_cache/x .ruff_cache/x
    .hypothesis/x .coverage .env .env.local .idea/x .vscode/x .DS_Store .git/config
    .gitignore tests/data test_counter.py counter_test.py conftest.py
"""
"""Files of a developer that must not be uploaded."""

DEPLOY = ("-s", "deploy", "--", "plain_wsgi", "--project", "my-id")
WHICH = "v1 --service=default --project=my-id"
"""How gcloud is told which version is meant."""

SCRIPT = """\
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
                if path.is_symlink() or path.is_file():
                    print(path.is_symlink(), path.relative_to(app), file=deployed)
        if (here / "deploy takes long").exists():
            time.sleep(600)
        sys.exit((here / "deploy fails").exists())
    case ["app", "versions", "describe", *_]:
        print((here / "url").read_text())
"""


@pytest.fixture
def script(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with a script named gcloud; the version it deploys does not answer."""
    (tmp_path / "url").write_text("http://127.0.0.1:9")  # nothing listens there
    (tmp_path / "gcloud").write_text(SCRIPT.format(python=sys.executable))
    (tmp_path / "gcloud").chmod(0o755)
    return tmp_path


def deploy(script: pathlib.Path, *arguments: str) -> Run:
    """Run the session with the script, and with the tests that need no time."""
    path = f"{script}:{COMMANDS}"
    return nox(*DEPLOY, *arguments, "-k", "not schedule", PATH=path)


def asked(script: pathlib.Path) -> list[str]:
    """Return the calls of the script after the first, which asks for the account."""
    first, *others = (script / "asked").read_text().splitlines()
    assert first.startswith("auth list ")
    return others


# --- with gcloud ----------------------------------------------------------------------


@pytest.fixture
def gcloud() -> str:
    """The path of gcloud."""
    found = shutil.which("gcloud")
    if found is None:
        pytest.skip("gcloud is not installed")
    return found


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("is_copy", [False, True], ids=["sample", "copy"])
def test_files_to_upload(
    is_copy: bool, app: str, gcloud: str, tmp_path: pathlib.Path
) -> None:
    """Only what the app needs is uploaded: no test, no cache, no environment."""
    folder = REPOSITORY / APPS[app]
    if is_copy:
        folder = tmp_path / "copy"
        copied = nox("-s", "copy", "--", app, folder)
        assert copied.returncode == 0, copied.stderr
        for junk in JUNK.split():
            (folder / junk).parent.mkdir(parents=True, exist_ok=True)
            (folder / junk).touch()

    listing = (gcloud, "meta", "list-files-for-upload", folder)
    listed = run(*listing, CLOUDSDK_CONFIG=str(tmp_path / "config"))

    assert listed.returncode == 0, listed.stderr
    assert set(listed.stdout.splitlines()) == FILES - {".gcloudignore"}


@pytest.mark.usefixtures("gcloud")
def test_missing_login(tmp_path: pathlib.Path) -> None:
    """If gcloud has no account, one line says how to log in."""
    deployed = nox(*DEPLOY, CLOUDSDK_CONFIG=str(tmp_path))

    assert reason(deployed).endswith("gcloud auth login")


# --- without it -----------------------------------------------------------------------


def test_missing_gcloud() -> None:
    """Without gcloud, one line says where to get it."""
    deployed = nox(*DEPLOY, PATH=str(COMMANDS))

    assert "https://cloud.google.com/sdk/docs/install" in reason(deployed)


def test_options_are_documented() -> None:
    """docs/your-app.md has a row for each option of the command, and no other."""
    shown = nox(*DEPLOY, "--help")
    table = first_cells(section(page("docs/your-app.md"), "Deploy"))

    assert shown.returncode == 0
    options = set(re.findall(r"--[\w-]+", shown.stdout.partition("\n\n")[2]))
    assert set(re.findall(r"--[\w-]+", table)) == options - {"--help"}


# --- the steps ------------------------------------------------------------------------


def test_version_is_deployed_tested_and_kept(script: pathlib.Path) -> None:
    """A copy without links is deployed, not promoted; the URL is tested and shown."""
    with Embedded(REPOSITORY / "plain_wsgi_app", script) as server:
        (script / "url").write_text(server.url)
        deployed = deploy(script, "--version", "v1")

    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    deploying, describing = asked(script)
    options = "--project=my-id --version=v1 --no-promote --quiet"
    assert deploying.endswith(f"/app.yaml {options}")
    assert describing == f"app versions describe {WHICH} --format=value(versionUrl)"
    files = (script / "deployed").read_text().splitlines()
    assert set(files) == {f"False {name}" for name in FILES}
    assert " passed, 1 deselected" in deployed.stdout
    assert f"deployed: {server.url}\n" in deployed.stderr
    assert f"gcloud app versions delete {WHICH}" in deployed.stderr


def test_version_that_fails_is_deleted_on_request(script: pathlib.Path) -> None:
    """With --delete the version, whose name is generated, is deleted after the tests.

    Also if it fails them; then the session fails.
    """
    deployed = deploy(script, "--delete")

    assert deployed.returncode == 1
    assert "does not answer" in deployed.stdout
    deploying, _, deleting = asked(script)
    (version,) = re.findall(r"--version=(\S+)", deploying)
    assert re.fullmatch(r"plain-wsgi-[a-z0-9-]+", version)  # all that App Engine allows
    which = f"{version} --service=default --project=my-id"
    assert deleting == f"app versions delete {which} --quiet"


@pytest.mark.parametrize("mishap", ["deploy fails", "deploy takes long"])
def test_deployment_that_does_not_finish(mishap: str, script: pathlib.Path) -> None:
    """Nothing is tested or deleted; a line says how to delete the version."""
    (script / mishap).touch()
    options = ("--version", "v1", "--delete")
    path = f"{script}:{COMMANDS}"
    with start_nox(*DEPLOY, *options, work=script, PATH=path) as deploying:
        if mishap == "deploy takes long":
            wait_until((script / "deployed").exists, "gcloud is at work", MINUTES)
            os.killpg(deploying.process.pid, signal.SIGINT)
        assert deploying.process.wait(MINUTES) != 0

    delete = f"gcloud app versions delete {WHICH} --quiet"
    assert len([x for x in deploying.log.splitlines() if delete in x]) == 1
    assert len(asked(script)) == 1
    assert " passed" not in deploying.log
