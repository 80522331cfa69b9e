"""A mistake in a command ends in one line: what is wrong, and a command that works."""

import pathlib
import shlex

import pytest

from tests.commands.running import COMMANDS, nox, reason
from tests.servers.staging import REPOSITORY

DEPLOY = "deploy -- flask --project p"


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        ("serve", "the following arguments are required: APP"),
        ("serve -- flusk", "'flusk'"),
        ("serve -- flask --server apache", "'apache'"),
        ("serve -- flask --storage", "--storage"),
        ("copy", "APP, DIR"),
        ("copy -- flask", "required: DIR"),
        ("copy -- flusk copy", "'flusk'"),
        ("copy -- flask copy more", "more"),
        ("copy -- flask copy --ndb clod", "'clod'"),
        ("e2e", "the following arguments are required: --base-url"),
        ("e2e -- --base-url", "argument --base-url: expected one argument"),
        ("e2e -- --base-url ''", "argument --base-url: ''"),
        ("e2e -- --base-url example.com", "argument --base-url: 'example.com'"),
        ("e2e -- --base-url ftp://example.com", "'ftp://example.com'"),
        ("e2e -- --base-url https://a.com/b", "'https://a.com/b'"),
        ("e2e -- --base-url http://localhost:port", "'http://localhost:port'"),
        ("deploy", "the following arguments are required: APP, --project"),
        ("deploy -- flask", "the following arguments are required: --project"),
        ("deploy -- flask --project", "argument --project: expected one argument"),
        ("deploy -- flask --project ''", "argument --project: "),
        ("deploy -- flusk --project p", "'flusk'"),
        (f"{DEPLOY} --version=", "argument --version: "),
        (f"{DEPLOY} --delte", "unrecognized arguments: --delte"),
        (f"{DEPLOY} --promote", "unrecognized arguments: --promote"),
        (f"{DEPLOY} --verison v1", "unrecognized arguments: --verison"),
        (f"{DEPLOY} django", "file or directory not found: django"),
        (f"{DEPLOY} django_app", "unrecognized arguments: django_app"),
        (f"{DEPLOY} tests/contract", "unrecognized arguments: tests/contract"),
        (f"{DEPLOY} -k typo", "no test"),
        (f"{DEPLOY} --markers", "no test"),
    ],
)
def test_mistake_in_the_arguments(
    command: str, mistake: str, tmp_path: pathlib.Path
) -> None:
    """Nothing else happens: no file is written, and gcloud is not called."""
    here = tmp_path / "here"
    here.mkdir()
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(f"#!/bin/sh\n: > {here / 'asked'}\n")
    gcloud.chmod(0o755)
    path = f"{tmp_path}:{COMMANDS}"

    ended = nox("-s", *shlex.split(command), folder=here, PATH=path)

    assert mistake in reason(ended)
    session = command.partition(" ")[0]
    assert f"python3 noxfile.py -s {session} -- " in reason(ended)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("command", "session"),
    [
        ("serve flask", "serve"),
        ("serve -- flask", "serve"),
        ("-s serve flask", "serve"),
        ("-s serve --port 0 -- flask", "serve"),
        ("-s serve --port=0 -- flask", "serve"),
        ("-s copy flask ../my_app", "copy"),
        ("-s deploy flask --project my-project", "deploy"),
        ("flask", "serve"),
        ("-- django --port 0", "serve"),
    ],
)
def test_forgotten_dashes(command: str, session: str) -> None:
    """One line shows the right command; no other session runs instead."""
    ended = nox(*command.split())

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f" python3 noxfile.py -s {session} -- flask" in line


def test_folder_without_an_app(tmp_path: pathlib.Path) -> None:
    """The line names the file that is missing."""
    ended = nox("-s", "serve", "--", "flusk", folder=tmp_path)

    assert str(tmp_path / "flusk" / "app.yaml") in reason(ended)


def test_folder_with_the_name_of_a_sample(tmp_path: pathlib.Path) -> None:
    """The line says that both exist, and how to name the folder."""
    (tmp_path / "flask").mkdir()
    (tmp_path / "flask" / "app.yaml").touch()

    ended = nox("-s", "serve", "--", "flask", folder=tmp_path)

    assert str(tmp_path / "flask") in reason(ended)
    assert " ./flask." in reason(ended)


def test_folder_of_a_sample_is_not_ambiguous() -> None:
    """In the repository itself, flask_app means the sample."""
    ended = nox("-s", "serve", "--", "flask_app", "--port", "x", folder=REPOSITORY)

    assert "--port: 'x'" in ended.stderr


def test_storage_is_relative_to_the_user(tmp_path: pathlib.Path) -> None:
    """The error names a folder in the user's folder, not in the repository."""
    (tmp_path / "store").write_text("no folder")
    command = "-s serve -- plain_wsgi --port 0 --storage store"

    ended = nox(*command.split(), folder=tmp_path)

    assert ended.returncode == 1
    assert str(tmp_path / "store") in ended.stderr
