"""What README.md names is what there is."""

import re

import pytest
from gae_devserver import terminal
from gae_devserver.config import app_yaml

from tests.commands.running import nox
from tests.servers.staging import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()


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
