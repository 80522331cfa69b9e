"""The lock and the lowest releases, as docs/versions.md has them, against the pins.

That the lock has every pin, with hashes, shows whenever a session installs it.
"""

import re
import tomllib
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.commands.pages import page, rows, section
from tests.servers.staging import APPS

LOCKED = re.findall(r"(?m)^([\w-]+)==(\S+)", page("requirements-lock.txt"))
GROUPS: dict[str, Any] = tomllib.loads(page("pyproject.toml"))["dependency-groups"]
DEVSERVER = tomllib.loads(page("devserver/pyproject.toml"))["project"]["dependencies"]
LOWEST = {
    canonicalize_name(wanted.name): bound.version
    for wanted in map(Requirement, GROUPS["minimums"] + DEVSERVER)
    for bound in wanted.specifier
    if bound.operator != "<"
}
"""What `nox -s minimums` installs."""


def test_lock_has_one_release_of_each_package() -> None:
    """Every Python and every system is tested with the same releases."""
    assert len(dict(LOCKED)) == len(LOCKED)


def test_versions_are_documented() -> None:
    """The page has the lowest release of each package, and the locked one."""
    assert rows(section(page("docs/versions.md"), "Versions tested")) == [
        [name, LOWEST[name], dict(LOCKED)[name]] for name in sorted(LOWEST)
    ]


def test_pins_are_not_below_the_minimums() -> None:
    """No locked release is older than what `nox -s minimums` runs on."""
    older = [x for x in LOWEST if Version(dict(LOCKED)[x]) < Version(LOWEST[x])]

    assert older == []


def test_every_package_that_runs_has_a_minimum() -> None:
    """A lowest release is named for all that the apps and the dev server ask for."""
    texts = [page(f"{folder}/requirements.txt") for folder in APPS.values()]
    pins = re.findall(r"^[^#\s]+", "\n".join(texts), re.MULTILINE)

    asked = [canonicalize_name(Requirement(x).name) for x in [*pins, *DEVSERVER]]
    assert set(LOWEST) == set(asked)
