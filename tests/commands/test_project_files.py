"""The files for contributors and for GitHub are valid, and name what there is."""

import pathlib
import re
import shlex
import sys
import textwrap
import tomllib
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.commands.running import nox, run
from tests.servers.staging import APPS, REPOSITORY

GITHUB = REPOSITORY / ".github"
FORMS = GITHUB / "ISSUE_TEMPLATE"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
DEVSERVER = REPOSITORY / "devserver"
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()


def load(name: str) -> Any:
    """Return a YAML file's content; `name` is meant from the repository's root."""
    return YAML(typ="safe", pure=True).load(REPOSITORY / name)


JOBS: dict[str, dict[str, Any]] = {
    f"{workflow.stem}/{name}": job
    for workflow in WORKFLOWS
    for name, job in load(str(workflow))["jobs"].items()
}
"""Each job by the names of its workflow and itself."""


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A job of a workflow; one for each."""
    return JOBS[request.param]


@pytest.fixture(scope="session")
def sessions() -> dict[str, bool]:
    """The sessions of noxfile.py, with and without variant; whether `nox` runs them."""
    listed = re.findall(
        r"^([*-]) (\w+)((?:\(\w+\))?)", nox("--list").stdout, re.MULTILINE
    )
    found = {name: mark == "*" for mark, name, _ in listed}
    return found | {name + variant: mark == "*" for mark, name, variant in listed}


def is_there(path: str) -> bool:
    """Return whether a file is there, from here or from the dev server's folder."""
    return any((folder / path).exists() for folder in (REPOSITORY, DEVSERVER))


def number(version: str) -> tuple[int, ...]:
    """Return a version of Python as numbers."""
    return tuple(map(int, version.split(".")))


def supported() -> set[tuple[int, ...]]:
    """Return the versions of Python that the session `versions` spans."""
    # not nox() of these tests: without environments there is one Python
    listed = run(sys.executable, "-m", "nox", "--list").stdout
    found = re.findall(r"^- versions-(\S+)", listed, re.MULTILINE)
    (major, oldest), (_, newest) = sorted(map(number, found))
    return {(major, minor) for minor in range(oldest, newest + 1)}


def split(command: str) -> tuple[list[str], list[str]]:
    """Return the sessions that a command of a workflow runs, and what pytest gets."""
    python, noxfile, option, *names = shlex.split(command)
    assert [python, noxfile, option] == ["python3", "noxfile.py", "-s"]
    end = names.index("--") if "--" in names else len(names)
    return names[:end], names[end + 1 :]


def commands(job: dict[str, Any]) -> list[str]:
    """Return what the steps of a job run."""
    return [step["run"] for step in job["steps"] if "run" in step]


def versions(job: dict[str, Any]) -> list[str]:
    """Return the versions of Python that a job runs on."""
    (chosen,) = [
        step["with"]["python-version"]
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/setup-python@")
    ]
    if chosen == "${{ matrix.python }}":
        return list(job["strategy"]["matrix"]["python"])
    return [chosen]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.dependabot", [GITHUB / "dependabot.yml"]),
        ("vendor.github-issue-config", [FORMS / "config.yml"]),
        (
            "vendor.github-issue-forms",
            [file for file in FORMS.glob("*.yml") if file.name != "config.yml"],
        ),
    ],
)
def test_github_takes_the_files(schema: str, files: list[Any]) -> None:
    """Each file is one that GitHub can read; it says nothing of one that it cannot."""
    assert files
    result = run(
        *(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema),
        *files,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_workflows_run_what_can_be_run_here(
    job: dict[str, Any], sessions: dict[str, bool]
) -> None:
    """A workflow runs sessions of noxfile.py that there are, and nothing else."""
    assert commands(job)
    for command in commands(job):
        assert "${{" not in command
        names, arguments = split(command)
        assert names
        assert set(names) <= set(sessions)
        for argument in arguments:
            if argument.startswith("tests/"):
                assert is_there(argument), argument


def test_ci_runs_all_that_nox_runs(sessions: dict[str, bool]) -> None:
    """What a contributor's `nox` runs is run for each change."""
    run_for_each_change = {
        session
        for name, job in JOBS.items()
        if name.startswith("ci/")
        for command in commands(job)
        for session in split(command)[0]
    }
    by_default = {name for name, chosen in sessions.items() if chosen}

    assert "unit" in by_default
    assert {name for name in by_default if "(" not in name} <= run_for_each_change


def test_actions_are_pinned() -> None:
    """An action is named by its commit, with its version beside it; a tag can move."""
    text = "".join(file.read_text() for file in WORKFLOWS)
    used = re.findall(r"\buses: *(.*)", text)
    pins = {
        re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40}) # v[\d.]+", use) for use in used
    }
    names = {pin[1] for pin in pins if pin}

    assert "actions/checkout" in names
    assert None not in pins
    assert len(set(used)) == len(names), "an action is there in two versions"


def test_workflows_can_only_read() -> None:
    """No workflow, and no job of one, has more rights than to read the code."""
    for file in WORKFLOWS:
        assert load(str(file))["permissions"] == {"contents": "read"}
    assert not [name for name, job in JOBS.items() if "permissions" in job]


def test_python_versions(job: dict[str, Any]) -> None:
    """A job runs on versions that are tested; a matrix on all of them, or newer ones.

    As text: YAML takes 3.10 for 3.1.
    """
    found = versions(job)

    assert all(isinstance(version, str) for version in found)
    if len(found) == 1:
        assert {number(found[0])} <= supported()
    else:
        numbers = set(map(number, found))
        assert numbers >= supported()
        assert min(numbers) == min(supported())


def test_tests_run_on_both_systems() -> None:
    """CI runs on Linux, and also tries macOS."""
    matrix = JOBS["ci/tests"]["strategy"]["matrix"]

    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos"]
    assert len(matrix["python"]) > 1


def test_only_a_newer_python_may_fail(job: dict[str, Any]) -> None:
    """A failure counts, but for versions of Python that no one has seen pass."""
    allowed = job.get("continue-on-error", False)
    named = re.fullmatch(r"\$\{\{ matrix\.python == '([\d.]+)' \}\}", str(allowed))

    assert not [step for step in job["steps"] if "continue-on-error" in step]
    assert allowed is False or named
    newer = {x for x in versions(job) if number(x) > max(supported())}
    assert newer == ({named[1]} if named else set())


def test_hooks_have_the_pins_of_the_checks() -> None:
    """pre-commit checks with the versions that nox checks with, and needs no host."""
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    pins = {
        pin
        for group in groups["dependency-groups"].values()
        for pin in group
        if isinstance(pin, str)
    }
    repositories = load(".pre-commit-config.yaml")["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]

    assert {repository["repo"] for repository in repositories} == {"local"}
    assert {pin for hook in hooks for pin in hook["additional_dependencies"]} <= pins
    assert {"ruff check", "ruff format"} <= {hook["name"] for hook in hooks}


def test_updates_are_proposed_for_all_pins() -> None:
    """Dependabot looks into each folder that has pins, and at the actions."""
    updates = load(".github/dependabot.yml")["updates"]
    folders = {entry["package-ecosystem"]: entry for entry in updates}

    assert set(folders) == {"pip", "github-actions"}
    assert sorted(folders["pip"]["directories"]) == sorted(
        ["/", "/devserver", *(f"/{folder}" for folder in APPS.values())]
    )


def test_bug_form_offers_what_there_is() -> None:
    """Who reports a bug can name each app and each version of Python."""
    form = load(".github/ISSUE_TEMPLATE/bug.yml")["body"]
    offered = {
        field["id"]: field["attributes"]["options"]
        for field in form
        if field["type"] == "dropdown"
    }
    python = [".".join(map(str, version)) for version in sorted(supported())]

    assert offered["app"][: len(APPS)] == list(APPS)
    assert offered["python"][: len(python)] == python


def test_contributing_names_sessions_that_there_are(sessions: dict[str, bool]) -> None:
    """Each command of CONTRIBUTING.md can be typed as it stands there."""
    lines = re.findall(r"(?:nox|noxfile\.py) -s ([^`\n]*)", CONTRIBUTING)
    named = set()
    for line in lines:
        first, *others = shlex.split(line.partition(" -- ")[0])
        named |= {first, *others}

    assert {"serve", "flask(embedded)", "minimums"} <= named
    assert named <= set(sessions)


def test_contributing_names_tests_that_there_are() -> None:
    """A path of tests is there, from here or from the dev server's folder."""
    named = re.findall(r"\btests/[\w/.]+\w", CONTRIBUTING)

    assert named
    for path in named:
        assert is_there(path), path


def test_contributing_shows_a_test_that_passes(tmp_path: pathlib.Path) -> None:
    """The example of a case runs, as one of the contract."""
    (example,) = re.findall(
        r"^   ```python\n(.*?)^   ```", CONTRIBUTING, re.MULTILINE | re.DOTALL
    )
    imports = "from tests.servers.contract_app import ContractApp\n"
    test = tmp_path / "test_shown.py"
    test.write_text(imports + textwrap.dedent(example))

    done = run(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
        *("-p", "tests.conftest", "-c", "pyproject.toml", test),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
