"""The README names the commands that there are."""

import re

from tests.commands.running import nox
from tests.servers.staging import REPOSITORY


def test_every_session_is_in_the_readme() -> None:
    """The README names each session of noxfile.py, and none that there is not."""
    listed = nox("--list")
    sessions = re.findall(r"^[*-] (\w+(?:\(\w+\))?)", listed.stdout, re.MULTILINE)
    readme = (REPOSITORY / "README.md").read_text()
    named = re.findall(r"(?:nox|noxfile\.py) -s \"?(\w+(?:\(\w+\))?)", readme)

    assert "serve" in sessions
    assert set(named) <= {*sessions, *(x.partition("(")[0] for x in sessions)}
    assert {x.partition("(")[0] for x in sessions} <= set(named)
