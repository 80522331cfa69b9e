"""What requirements-lock.txt and the lowest releases are, against the pins.

`nox -s lock` writes the file; test_noxfile.py shows that its hashes are checked.
"""

import re
import tomllib

import nox
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.servers.staging import APPS, REPOSITORY

LOCK = (REPOSITORY / "requirements-lock.txt").read_text()
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
DEVSERVER = tomllib.loads((REPOSITORY / "devserver" / "pyproject.toml").read_text())
GROUPS = set(PYPROJECT["dependency-groups"])

ENTRY = re.compile(
    r"^(?P<name>\S+)==(?P<version>\S+)(?: ; [^\\\n]+)?"
    r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n",
    re.MULTILINE,
)
"""A package, where it is needed if not everywhere, and one hash or more."""

LOCKED = {entry["name"]: entry["version"] for entry in ENTRY.finditer(LOCK)}


def of_app(app: str) -> list[Requirement]:
    """Return what the requirements.txt of an app asks for."""
    lines = (REPOSITORY / APPS[app] / "requirements.txt").read_text().splitlines()
    asked = [line.partition("#")[0].strip() for line in lines]
    return [Requirement(line) for line in asked if line]


def of_group(group: str) -> list[Requirement]:
    """Return what a dependency group of pyproject.toml asks for."""
    return list(map(Requirement, nox.project.dependency_groups(PYPROJECT, group)))


RANGES = list(map(Requirement, DEVSERVER["project"]["dependencies"]))
"""What the dev server asks for."""

PINS = {
    **{f"{APPS[app]}/requirements.txt": of_app(app) for app in APPS},
    **{group: of_group(group) for group in sorted(GROUPS - {"minimums"})},
}


def pinned(requirement: Requirement) -> Version:
    """Return the one release that a requirement allows."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return Version(specifier.version)


# --- the lock -------------------------------------------------------------------------


@pytest.mark.parametrize("source", PINS)
def test_lock_has_every_pin(source: str) -> None:
    """Whoever changes a pin runs `nox -s lock`, or this fails."""
    assert PINS[source]
    for requirement in PINS[source]:
        assert Version(LOCKED[requirement.name]) == pinned(requirement)


def test_lock_has_what_the_dev_server_needs() -> None:
    """Its dependencies, in a release that it allows, and what builds it."""
    build = map(Requirement, DEVSERVER["build-system"]["requires"])
    for requirement in (*RANGES, *build):
        locked = LOCKED[canonicalize_name(requirement.name)]
        assert locked in requirement.specifier, requirement


def test_every_entry_has_hashes() -> None:
    """Nothing but packages with hashes and comments is in the lock, no index either."""
    assert len(LOCKED) > 50
    rest = ENTRY.sub("", LOCK).splitlines()
    assert [line for line in rest if not re.match(r" *#", line)] == []
    assert "://" not in LOCK


def test_lock_has_one_release_of_each_package() -> None:
    """No two Pythons and no two systems are tested with different releases."""
    names = [entry["name"] for entry in ENTRY.finditer(LOCK)]
    assert sorted(set(names)) == sorted(names)


# --- the lowest releases --------------------------------------------------------------

MINIMUMS = {minimum.name: pinned(minimum) for minimum in of_group("minimums")}
MINIMUMS |= {
    wanted.name: Version(bound.version)
    for wanted in RANGES
    for bound in wanted.specifier
    if bound.operator == ">="
}


@pytest.mark.parametrize("source", PINS)
def test_pins_are_not_below_the_minimums(source: str) -> None:
    """No pin is older than what `nox -s minimums` runs on."""
    for requirement in PINS[source]:
        lowest = MINIMUMS.get(requirement.name, pinned(requirement))
        assert pinned(requirement) >= lowest, requirement


def test_every_package_that_runs_has_a_minimum() -> None:
    """A lowest release is named for all that the apps and the dev server ask for."""
    sources = [*(of_app(app) for app in APPS), RANGES]
    names = {requirement.name for source in sources for requirement in source}
    assert set(MINIMUMS) == names
