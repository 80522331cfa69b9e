"""Every command of README.md, and its examples, run in a copy of the repository."""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until

from tests.commands import (
    test_audit,
    test_copy,
    test_deploy,
    test_e2e,
    test_noxfile,
    test_serve,
)
from tests.commands.pages import blocks, first_cells, page, section
from tests.commands.running import MINUTES, Run, environment, nox, own_commands, run
from tests.commands.test_readme import CONTRIBUTING, README, without_ports
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY

SHORT = {
    "nox -s bench": "nox -s bench -- --server embedded --runs 1",
    "nox -s chaos": "nox -s chaos -- --chaos-calls 20 -k 'counts_once and plain_wsgi'",
    "nox -s flask -- -k test_failure_is_retried": (
        "nox -s 'flask(embedded)' -- -k test_failure_is_retried"
    ),
    'nox -s "integration(devserver)" -- tests/fuzz --fuzz-inputs 50000': (
        "nox -s 'integration(devserver)' -- tests/fuzz --fuzz-inputs 50"
    ),
    'nox -s "integration(samples)" -- tests/security --hypothesis-profile many': (
        "nox -s 'integration(samples)' -- tests/security/test_custom_endpoint.py"
    ),
}
"""A command that takes long -> the same with less to do."""

SERVED = {"nox -s serve -- flask", "nox -s copy -- flask ../my_app"}
"""What `served` runs, and the example of a test below."""

ELSEWHERE = {
    "nox -s copy": test_copy.test_folder_is_meant_from_where_the_user_is,
    "nox -s copy -- flask ../my_cloud_app --ndb cloud": (
        test_copy.test_copy_with_cloud_ndb
    ),
    "nox -s serve -- ../my_app": test_serve.test_folder_of_an_app,
    "nox -s serve -- ../my_app --port 0": test_serve.test_folder_of_an_app,
    "nox -s serve -- flask --server dev_appserver": test_serve.test_serving_ends,
    "nox -s serve -- ../my_cloud_app --server dev_appserver": (
        test_serve.test_serving_ends
    ),
    "nox -s deploy -- flask --project my-project": (
        test_deploy.test_version_is_deployed_tested_and_kept
    ),
    "nox -s audit": test_audit.test_nothing_is_found,
    "nox -s lock": test_noxfile.test_changed_pin_gets_into_the_lock,
    "nox -s e2e -- --base-url https://VERSION-dot-PROJECT.appspot.com": (
        test_e2e.test_routes
    ),
}
"""What takes a server of its own -> the test beside these that runs it."""


PAGES = ("README.md", *(f"docs/{file.name}" for file in REPOSITORY.glob("docs/*.md")))


def commands() -> set[str]:
    """Return the commands of this repository that the pages name, as of nox."""
    text = "".join(map(page, PAGES)) + section(CONTRIBUTING, "The sessions")
    shown = re.findall(r"^\$ (.*)$", "".join(blocks(text, "console")), re.MULTILINE)
    named = re.findall(r"`((?:nox|python3 noxfile\.py)(?: [^`]*)?)`", text)
    found = [x.replace("python3 noxfile.py", "nox") for x in [*shown, *named]]
    return {x[x.index("nox") :] for x in found if re.search(r"\bnox( |$)", x)}


def by_ci(folder: pathlib.Path) -> set[str]:
    """Return the commands that .ci/run runs whole, alone or as a part of another."""
    python = folder / "python3"
    python.write_text('#!/bin/sh\n[ "$2" != "" ] && shift && echo "$@" || echo\n')
    python.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    printed = run("bash", REPOSITORY / ".ci" / "run", PATH=path).stdout
    listed = re.findall(r"^([*-]) (\w+)(\(\w+\))?", nox("--list").stdout, re.MULTILINE)
    ran = {f"{name}{variant}" for mark, name, variant in listed if mark == "*"}
    whole = {"nox"}
    for line in printed.splitlines():
        whole.add(f"nox {line}".replace("-s flask(embedded)", '-s "flask(embedded)"'))
        if line.startswith("-s ") and " -- " not in line:
            ran |= set(line.split()[1:])
    for _, name, variant in listed:
        if all(f"{n}{v}" in ran or n in ran for _, n, v in listed if n == name):
            whole.add(f"nox -s {name}")
        if f"{name}{variant}" in ran:
            whole |= {f'nox -s "{name}{variant}"'}
    return whole


def test_every_command_is_tried(tmp_path: pathlib.Path) -> None:
    """A command is run by a test, or whole by CI; none is forgotten."""
    tried = {*SHORT, *SERVED, *ELSEWHERE, *by_ci(tmp_path)}

    assert commands() - tried == set()
    assert {*SHORT, *SERVED, *ELSEWHERE} <= commands()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The repository as a clone has it, with what is not committed yet."""
    folder = tmp_path_factory.mktemp("readme") / "deferred-samples"
    listed = run("git", "ls-files", "-co", "--exclude-standard", "-z").stdout
    for name in filter(None, listed.split("\0")):
        source, target = REPOSITORY / name, folder / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)
    return folder


def run_here(command: str, clone: pathlib.Path) -> Run:
    """Run a command of the README with the packages of this environment."""
    program, *arguments = shlex.split(command)
    if program == "python3":
        assert arguments.pop(0) == "noxfile.py"
    return nox(*arguments, folder=clone, noxfile=clone / "noxfile.py")


@pytest.mark.parametrize("command", SHORT)
def test_command(command: str, clone: pathlib.Path) -> None:
    """What takes long runs in its short form."""
    done = run_here(SHORT[command], clone)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if "-s" in command:
        assert "was successful" in done.stderr
    assert "no tests ran" not in done.stdout


class Served:
    """The first command of the README, at work."""

    def __init__(self, clone: pathlib.Path, work: pathlib.Path) -> None:
        self._log = work / "log"
        path = os.pathsep.join([str(own_commands()), os.environ["PATH"]])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "noxfile.py", "--no-venv"),
                    *("-s", "serve", "--", "flask", "--port", "0"),
                ],
                cwd=clone,
                env=environment(PATH=path),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: "Press Ctrl-C" in self.printed, "the banner", MINUTES)

    @property
    def printed(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def address(self, name: str) -> str:
        """Return what a line of the banner says."""
        found = re.search(rf"^  {name} +(?:http://)?(\S+)$", self.printed, re.MULTILINE)
        assert found, self.printed
        return found[1]


@pytest.fixture(scope="module")
def served(
    clone: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The Flask app, served as the README says."""
    served = Served(clone, tmp_path_factory.mktemp("served"))
    yield served
    os.killpg(served.process.pid, signal.SIGINT)
    assert served.process.wait(MINUTES) == 0


def output(command: str) -> str:
    """Return what the README shows below a command."""
    block = next(x for x in blocks(README, "console") if f"$ {command}" in x)
    shown = block.partition(f"$ {command}\n")[2]
    return shown.partition("\n$ ")[0].strip("\n")


def test_serve_prints_what_is_shown(served: Served) -> None:
    """Line by line, except for ports and the token, and what stands for the rest."""

    def lines(text: str) -> set[str]:
        return set(without_ports(text).splitlines())

    shown = output("python3 noxfile.py -s serve -- flask").removeprefix("...\n")
    assert lines(shown)
    assert lines(shown) <= lines(served.printed)


def test_curl_answers_what_is_shown(served: Served) -> None:
    """The three requests, one after the other, except for the numbers of the clock."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    shown = "".join(blocks(README, "console"))
    replies = re.findall(r"^\$ (curl .*)\n(.*)$", shown, re.MULTILINE)
    assert len(replies) == 3
    for shown_command, reply in replies:
        command = re.sub(
            r"127\.0\.0\.1:\d+(?=/clock)",
            served.address("State API"),
            shown_command.replace("127.0.0.1:8080", served.address("App")),
        )
        command = re.sub(r"Token: \w+", f"Token: {served.address('Token')}", command)

        def is_so(command: str = command, reply: str = reply) -> bool:
            program, *arguments = shlex.split(command)
            answer = run(program, "--silent", "--show-error", *arguments)
            assert answer.returncode == 0, answer.stderr
            return without_decimals(answer.stdout) == without_decimals(reply)

        # the count rises a moment after the answer of the page that increments
        wait_until(is_so, f"{command}: {reply}", interval=0.2)


def without_decimals(text: str) -> str:
    """Return a text with each number that has a point replaced."""
    return re.sub(r"\d+\.\d+", "N", text)


# --- the examples ---


def test_example_of_a_test(clone: pathlib.Path) -> None:
    """The lines with the virtual clock, on a copy of an app."""
    work = clone.parent
    copied = run_here("python3 noxfile.py -s copy -- flask ../my_app", clone)
    (example,) = blocks(section(README, "Test your own tasks"), "python")

    done = run(sys.executable, "-c", example, folder=work)

    assert copied.returncode == 0, copied.stderr
    assert done.returncode == 0, done.stderr


FLASK = """\
from flask import Flask

app = Flask(__name__)
"""


def test_an_app_of_ones_own(tmp_path: pathlib.Path) -> None:
    """The files and lines that docs/your-app.md names are enough for any app."""
    text = page("docs/your-app.md")
    folder = tmp_path / "own"
    (folder / "shared").mkdir(parents=True)
    for name in re.findall(r"`(\w+\.py)`", first_cells(section(text, "Files to copy"))):
        shutil.copy(REPOSITORY / "shared" / name, folder / "shared")
    (settings,) = blocks(text, "yaml")
    wrapped, tasks, view = blocks(text, "python")
    imports, call = view.rsplit("\n\n", 1)
    start = f'@app.route("/")\ndef start():\n    {call}    return "soon"\n'
    (folder / "app.yaml").write_text("runtime: python313\n" + settings)
    (folder / "main.py").write_text("\n".join([FLASK, wrapped, imports, start]))
    (folder / "tasks.py").write_text(tasks)

    server = Embedded(folder, tmp_path)
    try:
        assert server.get("/").text == "soon"
        server.run_due()
        (visits,) = server.state("GET", "/entities?kind=Visits")["entities"]
        assert visits["properties"] == {"count": 1}
        assert server.get("/_ah/queue/deferred").status == 405
        assert server.post("/_ah/queue/deferred").status == 403
    finally:
        server.stop()
