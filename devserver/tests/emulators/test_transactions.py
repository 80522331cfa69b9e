"""The same interleaved transactions here and on Google's emulators.

They run in one thread, so a call that waits for another transaction is never answered
on an emulator, and a deadline ends it; here, it soon stops waiting. Which of two
transactions waits or fails is not specified, and the emulators differ: the Firestore
emulator waits, even for entities that a query does not find, and the Datastore emulator
refuses queries without an ancestor. What every server must give is a serial order of
the transactions that explains all reads, those of failed transactions included, and the
final entities.
"""

import itertools
from collections.abc import Iterator

import grpc
import pytest
from hypothesis import assume, given, reject, settings

from gae_devserver.datastore_v1.limits import Limits
from tests.emulators.answers import new_namespace
from tests.emulators.interleavings import Plan, Player, conflicts, programs
from tests.helpers.datastore_v1 import RawClient
from tests.helpers.running_datastore import RunningDatastore

Program = list[tuple[int, Plan]]


@pytest.fixture(scope="module")
def raw() -> Iterator[RawClient]:
    """A client of the dev server's datastore, which does not wait for long."""
    running = RunningDatastore(limits=Limits(patience=0.02))
    client = RawClient(running.host)
    yield client
    client.close()
    running.stop()


@given(programs())
@settings(max_examples=2 * settings().max_examples // 5)
def test_serial_order(
    raw: RawClient, emulator: RawClient, firestore: RawClient, program: Program
) -> None:
    """A serial order explains what the transactions have read and written.

    Each transaction that both emulators commit is committed here too.
    """
    outcome = Player(raw, new_namespace()).play(program)
    try:
        others = [
            Player(client, new_namespace(), hasty=True).play(program)
            for client in (emulator, firestore)
        ]
    except grpc.RpcError:
        reject()  # on a busy machine, an emulator fails even to store the entities
    assert outcome.is_serializable(), outcome
    assert all(other.is_serializable() for other in others), others
    assert "unknown" not in outcome.outcomes
    for mine, *theirs in zip(
        outcome.outcomes, *(x.outcomes for x in others), strict=True
    ):
        assert mine == "committed" or {*theirs} != {"committed"}, (outcome, others)


@given(programs())
def test_no_conflict(raw: RawClient, program: Program) -> None:
    """Transactions that touch nothing of each other never fail."""
    plans = dict(program).values()
    assume(not any(itertools.starmap(conflicts, itertools.permutations(plans, 2))))
    outcome = Player(raw, new_namespace()).play(program)
    assert "failed" not in outcome.outcomes, outcome
