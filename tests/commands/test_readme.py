"""What README.md names and shows is what there is."""

import pathlib
import re

import pytest
from gae_devserver import terminal
from gae_devserver.config import app_yaml

from tests.commands.pages import code, page, rows, section
from tests.commands.running import nox
from tests.servers.embedded import Embedded
from tests.servers.staging import APPS, REPOSITORY

README = page("README.md")
CONTRIBUTING = page("CONTRIBUTING.md")


def test_every_session_is_named() -> None:
    """README.md and CONTRIBUTING.md name every session, and no other.

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


def test_what_nox_prints_is_shown() -> None:
    """The README shows how many sessions run, and only sessions that do."""
    default = re.findall(r"^\* (\w+(?:\(\w+\))?)", nox("--list").stdout, re.MULTILINE)
    shown = re.findall(r"^nox > \* (\w+(?:\(\w+\))?): ", README, re.MULTILINE)

    assert f"nox > Ran {len(default)} sessions in " in README
    assert shown == [session for session in default if session in shown]
    assert shown


def test_banner_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The README shows the banner as the server prints it, except for the ports."""
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


@pytest.mark.parametrize("app", APPS)
def test_delays(app: str, tmp_path: pathlib.Path) -> None:
    """Each task that an app defers is a row: its delay, its URL, the count after it."""
    table = rows(section(README, "The three delays"))
    delays = [int(delay) for delay, _, _, _ in table]
    server = Embedded(REPOSITORY / APPS[app], tmp_path)
    try:
        server.pause("default")
        server.get("/counter/increment")
        queued = [(round(task.due_in, -1), task.url) for task in server.tasks()]
        server.resume("default")
        counts = []
        passed = 0
        for delay in delays:
            server.advance(delay - passed)
            passed = delay
            counts.append(server.get("/counter/get").text)
    finally:
        server.stop()

    urls = [url for _, _, cell, _ in table for url in code(cell)]
    assert list(zip(delays, urls, strict=True)) == queued
    assert [count for _, _, _, count in table] == counts
