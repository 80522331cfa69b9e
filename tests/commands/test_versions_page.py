"""docs/versions.md has the versions that the sessions install."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.commands.pages import page, rows, section


def test_versions() -> None:
    """The lowest versions are those of `minimums`, and the pins those of the lock."""
    groups = tomllib.loads(page("pyproject.toml"))
    devserver = tomllib.loads(page("devserver/pyproject.toml"))
    minimums = groups["dependency-groups"]["minimums"]
    lowest = [Requirement(x) for x in minimums + devserver["project"]["dependencies"]]
    locked = dict(re.findall(r"(?m)^([\w-]+)==(\S+)", page("requirements-lock.txt")))

    assert rows(section(page("docs/versions.md"), "Versions tested")) == [
        [wanted.name, bound.version, locked[wanted.name]]
        for wanted in sorted(lowest, key=lambda x: x.name)
        for bound in wanted.specifier
        if bound.operator != "<"
    ]
