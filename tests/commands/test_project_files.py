"""The files for contributors and for GitHub are valid, and name what exists."""

import pathlib
import re
import shlex
import sys
import textwrap
import tomllib
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.commands.pages import page
from tests.commands.running import nox, run
from tests.servers.staging import APPS, REPOSITORY

GITHUB = REPOSITORY / ".github"
FORMS = GITHUB / "ISSUE_TEMPLATE"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def load(path: pathlib.Path) -> Any:
    """Return a YAML file's content."""
    return YAML(typ="safe", pure=True).load(path)


JOBS: dict[str, dict[str, Any]] = {
    f"{workflow.stem}/{name}": job
    for workflow in WORKFLOWS
    for name, job in load(workflow)["jobs"].items()
}
"""Each job by the names of its workflow and itself."""


def commands(workflow: str = "") -> list[list[str]]:
    """Return the words of each command that the jobs of a workflow, or of all, run."""
    jobs = [job for name, job in JOBS.items() if name.startswith(workflow)]
    return [
        shlex.split(step["run"])
        for job in jobs
        for step in job["steps"]
        if "run" in step
    ]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.dependabot", [GITHUB / "dependabot.yml"]),
        ("vendor.github-issue-config", [FORMS / "config.yml"]),
        ("vendor.github-issue-forms", [*FORMS.glob("[!c]*.yml")]),
    ],
)
def test_github_takes_the_files(schema: str, files: list[pathlib.Path]) -> None:
    """Each file is valid; GitHub silently ignores one that is not."""
    assert files
    check = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema)
    result = run(*check, *files)

    assert result.returncode == 0, result.stdout + result.stderr


def test_workflows_run_sessions() -> None:
    """A workflow runs sessions of noxfile.py, and CI all that `nox` runs."""
    listed = re.findall(r"^([*-]) ((\w+)\S*) ", nox("--list").stdout, re.MULTILINE)
    sessions = {name for found in listed for name in found[1:]}
    ran = set()
    for python, noxfile, option, *words in commands():
        assert [python, noxfile, option] == ["python3", "noxfile.py", "-s"]
        ran |= set(words[: words.index("--")] if "--" in words else words)
    for_each_change = {word for words in commands("ci/") for word in words}

    assert ran <= sessions
    assert {name for mark, _, name in listed if mark == "*"} <= for_each_change


def test_workflows_are_safe() -> None:
    """An action is named by its commit, as a tag can move; no job may write."""
    used = {x["uses"] for job in JOBS.values() for x in job["steps"] if "uses" in x}

    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", use) for use in used)
    for file in WORKFLOWS:
        assert load(file)["permissions"] == {"contents": "read"}
    assert not [name for name, job in JOBS.items() if "permissions" in job]


def test_python_versions() -> None:
    """CI, the form for bugs and the distribution have every supported Python.

    As text: YAML takes 3.10 for 3.1. The session `versions` has them too.
    """
    # not nox() of these tests: without environments there is one Python
    listed = run(sys.executable, "-m", "nox", "--list").stdout
    supported = re.findall(r"^- versions-(3\.\d+)", listed, re.MULTILINE)
    offered = {x.get("id"): x["attributes"] for x in load(FORMS / "bug.yml")["body"]}

    assert len(supported) > 2
    matrix = JOBS["ci/tests"]["strategy"]["matrix"]["python"]
    assert matrix[: len(supported)] == supported
    assert offered["python"]["options"][: len(supported)] == supported
    project = tomllib.loads(page("devserver/pyproject.toml"))["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert named == supported
    assert offered["app"]["options"][: len(APPS)] == list(APPS)


def test_hooks_have_the_pins_of_the_checks() -> None:
    """pre-commit uses the same versions as nox, and downloads no other repository."""
    groups = tomllib.loads(page("pyproject.toml"))["dependency-groups"]
    pins = {pin for group in groups.values() for pin in group if isinstance(pin, str)}
    repositories = load(REPOSITORY / ".pre-commit-config.yaml")["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]

    assert {repository["repo"] for repository in repositories} == {"local"}
    assert {pin for hook in hooks for pin in hook["additional_dependencies"]} <= pins


def test_updates_are_proposed_for_all_pins() -> None:
    """Dependabot looks into each folder that has pins, and at the actions."""
    updates = load(GITHUB / "dependabot.yml")["updates"]
    folders = {entry["package-ecosystem"]: entry for entry in updates}

    assert set(folders) == {"pip", "github-actions"}
    samples = {f"/{folder}" for folder in APPS.values()}
    assert set(folders["pip"]["directories"]) == {"/", "/devserver"} | samples


def test_contributing_shows_a_test_that_passes(tmp_path: pathlib.Path) -> None:
    """The example of a case runs, as one of the contract."""
    shown = r"^   ```python\n(.*?)^   ```"
    (example,) = re.findall(shown, page("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    imports = "from tests.servers.contract_app import ContractApp\n"
    test = tmp_path / "test_shown.py"
    test.write_text(imports + textwrap.dedent(example))

    options = ("-p", "no:cacheprovider", "-p", "tests.conftest", "-c", "pyproject.toml")
    done = run(sys.executable, "-m", "pytest", *options, test)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
