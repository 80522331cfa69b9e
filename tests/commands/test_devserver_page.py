"""devserver/README.md lists each option, setting and fault that the server knows."""

import re
import sys

from gae_devserver import faults
from gae_devserver.config import warnings

from tests.commands.pages import code, first_cells, rows, section
from tests.commands.running import run
from tests.servers.staging import REPOSITORY

PAGE = (REPOSITORY / "devserver" / "README.md").read_text()


def documented() -> dict[str, str]:
    """Return the options in the page's table, and the default of each."""
    return {
        name: cell
        for cells, _, cell in rows(section(PAGE, "Options"))
        for name in code(cells)
    }


def offered() -> dict[str, str]:
    """Return the options that --help shows, and the line of each."""
    module = (sys.executable, "-m", "gae_devserver")
    printed = run(*module, "--help", COLUMNS="1000").stdout
    # the text of a long option is on the next line
    printed = re.sub(r"\n {20,}", "  ", printed)
    lines = re.findall(r"^ +(--\w.*)$", printed, re.MULTILINE)
    return {name: x for x in lines for name in x.partition("  ")[0].split(", ")}


def test_every_option_is_documented() -> None:
    """The table has the options of the command line, and no others."""
    assert "--port PORT" in documented()
    assert [x.split()[0] for x in documented()] == [x.split()[0] for x in offered()]


def test_defaults_are_documented() -> None:
    """The table has the default of each option that --help shows as one word."""
    found = 0
    for name, line in offered().items():
        for default in re.findall(r"\(default: ([\w-]+)\)", line):
            assert documented()[re.sub("{.*}", "LEVEL", name)] == f"`{default}`", name
            found += 1
    assert found > 4


def test_what_is_not_emulated_is_documented() -> None:
    """The section names each setting and each file for which the server warns."""
    listed = section(PAGE, "What it does not emulate")

    for name in (*warnings.SETTINGS, *warnings.FILES):
        assert f"`{name}`" in listed


def test_every_fault_is_documented() -> None:
    """The table has the faults that --faults knows, and no others."""
    named = re.findall(r"`(\w+)`", first_cells(section(PAGE, "Faults on purpose")))

    assert sorted(named) == sorted(faults.NAMES)
