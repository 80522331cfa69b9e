"""Deploys a version to App Engine that gets no traffic."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nox.command import CommandFailed

from tools.copy_app import copy_app
from tools.processes import ask, run, start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import nox

    from tools.arguments import Options

EXAMPLE_URL = "https://VERSION-dot-PROJECT.appspot.com"
_INSTALL = "https://cloud.google.com/sdk/docs/install"


def find_gcloud(session: nox.Session) -> str:
    """Return the path of gcloud; end the session if it is missing."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        session.error(f"gcloud was not found. Install it: {_INSTALL}")
    return gcloud


def need_account(session: nox.Session, gcloud: str) -> None:
    """End the session unless gcloud is logged in."""
    listing = ("auth", "list", "--filter=status:ACTIVE", "--format=value(account)")
    if not ask(gcloud, *listing):
        session.error("gcloud has no active account. Log in: gcloud auth login")


@contextmanager
def deployed(
    session: nox.Session,
    gcloud: str,
    app: str,
    *,
    project: str,
    version: str,
    delete: bool,
) -> Iterator[str]:
    """Deploy a version of an app, and yield its URL.

    Args:
        session: the session.
        gcloud: the path of gcloud.
        app: the name of the app.
        project: the project's id.
        version: the name of the version.
        delete: whether to delete the version at the end, even after an error.
    """
    which = (version, "--service=default", f"--project={project}")
    deleting = (gcloud, "app", "versions", "delete", *which, "--quiet")
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy_app(app, Path(folder, "app"))
            app_yaml = str(Path(folder, "app", "app.yaml"))
            options = [f"--project={project}", f"--version={version}", "--no-promote"]
            run(session, gcloud, "app", "deploy", app_yaml, *options, "--quiet")
    except (CommandFailed, KeyboardInterrupt):
        session.log(
            "the deployment did not finish. If the version exists, delete it: "
            f"{shlex.join(deleting)}"
        )
        raise
    try:
        describe = (gcloud, "app", "versions", "describe", *which)
        url = ask(*describe, "--format=value(versionUrl)")
        session.log(f"deployed: {url}")
        yield url
    finally:
        if delete:
            run(session, *deleting)
        else:
            session.log(f"to delete the version: {shlex.join(deleting)}")


def check_tests(
    session: nox.Session, parser: Options, arguments: Sequence[str]
) -> None:
    """End the session if the arguments for tests/e2e are wrong, or select no test.

    Otherwise pytest reports a wrong argument only after the version was deployed.
    """
    paths = [x for x in arguments if x[:1] != "-" and Path(x).exists()]
    others = [x for x in paths if not x.startswith("tests/e2e")]
    if others:
        parser.error(f"unrecognized arguments: {shlex.join(others)}")
    pytest = ["-m", "pytest", "tests/e2e", *arguments, f"--base-url={EXAMPLE_URL}"]
    options = ["--collect-only", "--verbosity=-1"]  # last: they override the user's
    collecting = start(session, "python", *pytest, *options, output=subprocess.PIPE)
    said = collecting.communicate()[0].decode()
    if collecting.returncode == 0 and "::" in said:
        return
    if collecting.returncode not in (0, 4, 5):  # not the user's mistake
        sys.stderr.write(said)
        raise CommandFailed(return_code=collecting.returncode)
    reasons = re.findall(r"(?:ERROR|error): (?!usage: )(.*)", said)
    parser.error(reasons[0] if reasons else "the arguments select no test")
