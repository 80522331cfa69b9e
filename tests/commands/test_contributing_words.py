"""What CONTRIBUTING.md says of each session is what noxfile.py does."""

import re
import shlex

from tests import conftest, realtime
from tests.chaos import test_chaos
from tests.commands.running import nox, run
from tests.commands.test_project_files import constant
from tests.commands.test_readme import CONTRIBUTING, section
from tests.commands.test_readme_tables import NUMBERS, code, rows
from tests.commands.test_readme_words import NOXFILE, source_of
from tests.servers.staging import APPS, REPOSITORY

TABLE = rows("The sessions", CONTRIBUTING)
TEXTS = {command: text for cell, text in TABLE for command in code(cell)}
"""What the table says of each command."""


def session(command: str) -> str:
    """Return the session that a command runs."""
    return shlex.split(command)[2]


def described(name: str) -> str:
    """Return what the table says of a session that it has once."""
    (text,) = (TEXTS[x] for x in TEXTS if x != "nox" and session(x) == name)
    return text


def listed(marks: str) -> list[str]:
    """Return the sessions that `nox --list` shows with one of these marks."""
    printed = nox("--list").stdout
    names = re.findall(rf"^[{marks}] (\w+)", printed, re.MULTILINE)
    return list(dict.fromkeys(names))


def test_sessions_are_all() -> None:
    """The table has each session, and none that there is not."""
    named = {session(command) for command in TEXTS if command != "nox"}

    assert {name.partition("(")[0] for name in named} == set(listed("*-"))


def test_what_nox_runs() -> None:
    """`nox` runs what stands above the last of its sessions, and nothing else."""
    commands = list(TEXTS)
    last = f"nox -s {code(TEXTS['nox'])[0]}"
    above = commands[1 : commands.index(last) + 1]
    names = [session(command).partition("(")[0] for command in above]

    assert commands[0] == "nox"
    assert TEXTS["nox"].startswith("all of the following up to")
    assert not [command for command in above if " -- " in command]
    assert list(dict.fromkeys(names)) == listed("*")


def test_variants() -> None:
    """Each variant is named, with its server and its library."""
    variants = constant("VARIANTS")
    for name, (server, library) in variants.items():
        text = TEXTS[f'nox -s "flask({name})"']
        where = {"embedded": "the dev server", "dev_appserver": "`dev_appserver.py`"}
        ndb = {"bundled": "bundled NDB", "cloud": "Cloud NDB"}
        assert text.startswith(f"on {where[server]}, with {ndb[library]}"), name

    contract = TEXTS["nox -s flask"]
    assert {TEXTS[f"nox -s {app}"] for app in APPS} == {contract}
    assert f"the {NUMBERS[len(variants)]} variants that follow" in contract


def test_what_unit_leaves_out() -> None:
    """It runs all folders of tests but those that the line names."""
    left_out = set(re.findall(r'"tests/(\w+)"', source_of("unit")))
    but = TEXTS["nox -s unit"].partition(":")[0].partition(" but ")[2]

    assert {*code(but), "contract"} == left_out
    assert "the contract" in but
    for folder in left_out:
        assert (REPOSITORY / "tests" / folder).is_dir()


def test_how_much_is_made() -> None:
    """The inputs of `unit` and the tasks of `chaos`, with each app and library."""
    options = source_of("pytest_addoption", "tests/conftest.py")
    (inputs,) = re.findall(r'"--fuzz-inputs",\s+type=int,\s+default=(\d+)', options)
    (tasks,) = re.findall(r"--chaos-calls=(\d+)", source_of("chaos"))

    assert re.findall(r"([\d,]+) inputs", TEXTS["nox -s unit"]) == [f"{int(inputs):,}"]
    assert f"{int(tasks):,} tasks with each app and library" in described("chaos")
    assert len(test_chaos.CASES) == len(APPS) * len(conftest.LIBRARIES)


def pythons(name: str) -> list[str]:
    """Return the versions of Python that a session of noxfile.py names."""
    found = re.search(rf"python=(\[.*?\]|\"[\d.]+\").*\ndef {name}\(", NOXFILE)
    assert found
    return re.findall(r"[\d.]+", found[1])


def test_pythons_of_sessions() -> None:
    """Those of `versions`, of `minimums` and of the whole page."""
    *others, last = pythons("versions")
    set_up = section(CONTRIBUTING, "Set up")

    assert f"on Python {', '.join(others)} and {last}," in described("versions")
    assert f"Python {', '.join(others)} or {last}, on" in set_up
    assert described("minimums").endswith(f"on Python {pythons('minimums')[0]}")


def test_what_sessions_run() -> None:
    """With which library, which tool, and how long."""
    for name in ("versions", "minimums"):
        either = str(conftest.LIBRARIES).replace("'", '"')
        assert "the contract, with either NDB," in described(name)
        assert f"for ndb in {either}:" in source_of(name)
    migration = "tests/test_migration.py" in source_of("minimums")
    assert ("the move to Cloud NDB" in described("minimums")) is migration
    for name in ("lint", "types"):
        assert f'session.run("{described(name)}"' in source_of(name)


def test_files_of_an_app() -> None:
    """An app is what the page says, and no more."""
    (line,) = re.findall(r"^An app is .* and no more\.$", CONTRIBUTING, re.MULTILINE)
    for folder in APPS.values():
        listed = run("git", "ls-files", folder).stdout.splitlines()
        assert sorted(code(line)) == sorted(x.partition("/")[2] for x in listed)


def test_how_long_the_schedule_takes() -> None:
    """The tests that wait for it take as long as they are said to."""
    minutes = {2: "two", 2.5: "two and a half", 3: "three"}[realtime.END / 60]
    text = TEXTS['nox -s "flask(embedded)" -- --realtime']

    assert f"{minutes} minutes in each variant" in text
    assert described("e2e").endswith(f": {minutes} minutes")
