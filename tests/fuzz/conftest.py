"""The fixture that makes inputs, as many as --fuzz-inputs says."""

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator

import pytest
from google.appengine.api import apiproxy_stub_map
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy


@dataclasses.dataclass(frozen=True)
class Fuzz:
    """Calls a check with one input after another."""

    inputs: int
    """How many there are, over all tests of this folder."""
    seed: int

    def __call__(
        self,
        share: float,
        check: Callable[..., None],
        *strategies: SearchStrategy[object],
    ) -> None:
        """Call `check` with inputs of these kinds: `share` of all inputs."""
        test = given(*strategies)(check)
        test = settings(
            # by the seed alone: what an earlier run has found is an example of its own
            database=None,
            deadline=None,
            derandomize=False,
            max_examples=max(1, round(self.inputs * share)),
            phases=(Phase.generate, Phase.shrink),
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )(test)
        seed(self.seed)(test)()


@pytest.fixture(scope="session")
def fuzz(pytestconfig: pytest.Config) -> Fuzz:
    """What makes inputs; the seed is in the report's head and repeats a run."""
    return Fuzz(
        pytestconfig.getoption("--fuzz-inputs"), pytestconfig.getoption("--fuzz-seed")
    )


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """An event loop that a check can run parts of itself in."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def sdk_state() -> Iterator[None]:
    """Undo what `Services` sets for the whole process: the stubs and the app id."""
    environment, stubs = dict(os.environ), apiproxy_stub_map.apiproxy
    yield
    apiproxy_stub_map.apiproxy = stubs
    os.environ.clear()
    os.environ.update(environment)
