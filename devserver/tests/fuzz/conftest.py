"""The fixture that makes as many inputs as --fuzz-inputs says."""

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

SHARES = {
    "front: bytes": 2,
    "front: requests": 24,
    "front: one byte": 8,
    "front: two packets": 9,
    "front: gone": 2,
    "forwarding": 10,
    "app.yaml: text": 1,
    "app.yaml: values": 8,
    "queue.yaml: text": 1,
    "queue.yaml: values": 5,
    "rpc_http: bytes": 4,
    "rpc_http: contents": 4,
    "rpc_http: messages": 8,
    "datastore_v1: bytes": 1,
    "datastore_v1: half": 2,
    "datastore_v1: messages": 10,
    "datastore_v1: methods": 1,
}
"""Each part's percentage of the inputs."""
assert sum(SHARES.values()) == 100

_ENOUGH = 40
"""From so many inputs on, it is no accident how far they get."""
_NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Fuzz:
    """Calls a check with one input after another."""

    inputs: int
    """The number for all tests of this folder."""
    seed: int

    def __call__(
        self,
        part: str,
        check: Callable[..., Collection[str] | None],
        *strategies: SearchStrategy[object],
        at_least: Mapping[str, float] = _NOTHING,
    ) -> None:
        """Call `check` with inputs of these kinds, as many as `part` gets.

        `check` returns how far an input got. A test whose inputs hardly ever reach the
        code under test would always pass. So at least these shares of the inputs must
        reach it; they are far below the usual ones.
        """
        count = max(1, round(self.inputs * SHARES[part] / 100))
        reached: collections.Counter[str] = collections.Counter()
        calls = 0

        def call(values: tuple[object, ...]) -> None:
            nonlocal calls
            calls += 1
            reached.update(check(*values) or ())

        test = given(st.tuples(*strategies))(call)
        test = settings(
            # only the seed decides, not what an earlier run has found
            database=None,
            deadline=None,
            derandomize=False,
            max_examples=count,
            phases=(Phase.generate, Phase.shrink),
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )(test)
        seed(self.seed)(test)()
        print(f"{part}: {calls} inputs, {dict(reached.most_common())}")
        assert calls == count
        for goal, share in at_least.items() if count >= _ENOUGH else ():
            assert reached[goal] >= share * count, f"{goal}: {reached[goal]} of {count}"


@pytest.fixture(scope="session")
def fuzz(pytestconfig: pytest.Config) -> Fuzz:
    """Makes the inputs; the seed in the report's header repeats a run."""
    return Fuzz(
        pytestconfig.getoption("--fuzz-inputs"), pytestconfig.getoption("--fuzz-seed")
    )


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """An event loop in which a check can run coroutines."""
    with asyncio.Runner() as runner:
        yield runner
