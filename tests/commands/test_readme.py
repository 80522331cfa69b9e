"""What README.md and devserver/README.md name is what there is."""

import argparse
import re
from types import SimpleNamespace
from typing import Any

import pytest
from gae_devserver import __main__, terminal
from gae_devserver.config import app_yaml, warnings
from gae_devserver.console.state_api import StateApi
from gae_devserver.tasks import execution

from tests.commands.running import nox
from tests.servers.staging import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
DEVSERVER = (REPOSITORY / "devserver" / "README.md").read_text()


def section(text: str, title: str) -> str:
    """Return what stands below a headline, up to the next one."""
    (found,) = re.findall(
        rf"^#+ {title}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return str(found)


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def first_cells(text: str) -> str:
    """Return the first cells of all rows of a text's tables, a line each."""
    return "\n".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE))


def test_every_session_is_named() -> None:
    """The README and CONTRIBUTING.md name each session, and none that there is not.

    Each variant is named with one app.
    """
    listed = nox("--list")
    sessions = re.findall(r"^[*-] (\w+(?:\(\w+\))?)", listed.stdout, re.MULTILINE)
    pages = README + CONTRIBUTING
    named = re.findall(r"(?:nox|noxfile\.py) -s \"?(\w+(?:\(\w+\))?)", pages)

    assert "serve" in sessions
    assert "flask(embedded_cloud)" in sessions
    assert set(named) <= {*sessions, *(x.partition("(")[0] for x in sessions)}
    assert {x.partition("(")[0] for x in sessions} <= set(named)
    assert {x for x in sessions if x.startswith("flask(")} <= set(named)


def test_what_nox_runs_is_in_the_readme() -> None:
    """The README shows how many sessions there are, and only such that there are."""
    default = re.findall(r"^\* (\w+(?:\(\w+\))?)", nox("--list").stdout, re.MULTILINE)
    shown = re.findall(r"^nox > \* (\w+(?:\(\w+\))?): ", README, re.MULTILINE)

    assert f"nox > Ran {len(default)} sessions in " in README
    assert shown == [session for session in default if session in shown]
    assert shown


def test_every_option_is_documented() -> None:
    """The table has the options of the dev server, and no others."""
    actions = __main__._parser()._actions
    options = {option for action in actions for option in action.option_strings}
    named = re.findall(r"--[\w-]+", first_cells(section(DEVSERVER, "Options")))

    assert "--port" in named
    assert sorted(named) == sorted(options - {"-h", "--help"})


def test_defaults_are_documented() -> None:
    """The table says what an option is if it is not given."""
    table = section(DEVSERVER, "Options")
    named = re.findall(
        r"^\| `(--[\w-]+).*?`?([\w-]+)`? if not given", table, re.MULTILINE
    )
    defaults = {
        action.option_strings[0]: str(action.default)
        for action in __main__._parser()._actions
        if action.default not in (None, False, argparse.SUPPRESS)
    }

    assert dict(named) == defaults | {
        "--reload": "on",
        "--storage": "memory",
        "--task-deadline": f"{execution.DEADLINE:g}",
    }


def test_banner_is_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    """The README shows the banner as the server prints it, but for the ports."""
    flask = app_yaml.load(REPOSITORY / "flask_app")

    terminal.show_banner(
        flask,
        *("http://127.0.0.1:1", "http://127.0.0.1:2"),
        token="0" * 32,
        datastore="127.0.0.1:3",
        storage="in memory",
    )

    banner = without_ports(capsys.readouterr().out)
    assert "127.0.0.1:PORT" in banner
    assert banner in without_ports(README)


def without_ports(text: str) -> str:
    """Return a text with each port replaced, and each token."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "TOKEN", text)
    return re.sub(r"(?<=127\.0\.0\.1:)\d+", "PORT", text)


def test_what_is_not_emulated_is_documented() -> None:
    """devserver/README.md names each setting and file of which the server warns."""
    listed = section(DEVSERVER, "What it does not emulate")

    for name in (*warnings.SETTINGS, *warnings.FILES):
        assert f"`{name}`" in listed


def served() -> set[tuple[str, str]]:
    """Return the routes of the State API: method and path."""
    nothing: Any = SimpleNamespace(taskqueue=None)  # only the routes are looked at
    runner: Any = StateApi(nothing, nothing, nothing, "")._server._runner
    routes = runner.app.router.routes()
    return {
        (route.method, route.resource.canonical)
        for route in routes
        if route.resource and route.method != "HEAD"  # GET brings it along
    }


def test_state_api_is_documented() -> None:
    """devserver/README.md has the routes of the State API, and no others."""
    cells = first_cells(section(DEVSERVER, "The State API"))
    named = re.findall(r"`([A-Z]+) (/[^`?]*)", cells)
    written = {"QUEUE": "{queue}", "TASK": "{task}"}

    assert served() == {
        (method, re.sub("QUEUE|TASK", lambda x: written[x[0]], path))
        for method, path in named
    }
