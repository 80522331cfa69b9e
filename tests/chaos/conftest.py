"""The options of the long form, `nox -s chaos`."""

import random

import pytest

SHORT = 100
"""Calls in the short form, which runs with the other tests."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options to make a run longer, or to repeat one."""
    group = parser.getgroup("chaos")
    group.addoption("--chaos-calls", type=int, help=f"calls (default: {SHORT})")
    group.addoption("--chaos-seed", type=int, help="the seed that a failed run printed")


@pytest.fixture
def calls(pytestconfig: pytest.Config) -> int:
    """How often the function is deferred."""
    # None: if pytest starts outside of this folder, it reads these options too late
    return pytestconfig.getoption("--chaos-calls", None) or SHORT


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of the faults and of the moments of the kills; a failure shows it."""
    given = pytestconfig.getoption("--chaos-seed", None)
    seed = random.randrange(2**32) if given is None else given
    print(f"seed {seed}; for the same faults again: --chaos-seed {seed}")
    return seed
