"""A check that the inputs reach the code under test, and an event loop."""

import asyncio
import collections
from collections.abc import Iterator

import pytest


class Reached:
    """Counts the inputs of a test, and how far they get."""

    def __init__(self) -> None:
        self.inputs = 0
        self.goals: collections.Counter[str] = collections.Counter()

    def __call__(self, *goals: str) -> None:
        """Count one input, which has reached these goals."""
        self.inputs += 1
        self.goals.update(goals)


@pytest.fixture
def reached(request: pytest.FixtureRequest) -> Iterator[Reached]:
    """Counts how far the inputs get; fails if they hardly ever get far enough.

    A test whose inputs never reach the code under test always passes. So each share
    that its marker `reaches` names is required; they are far below the usual ones.
    """
    failed = request.session.testsfailed
    reached = Reached()
    yield reached
    print(f"{reached.inputs} inputs, {dict(reached.goals.most_common())}")
    marker = request.node.get_closest_marker("reaches")
    if marker is None or request.session.testsfailed > failed:
        return
    for goal, share in marker.kwargs.items():
        assert reached.goals[goal] >= share * reached.inputs, (goal, reached.goals)


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """An event loop in which a test can run coroutines."""
    with asyncio.Runner() as runner:
        yield runner
