"""Transactions whose calls alternate, and whether a serial order explains them."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from hypothesis import strategies as st

from tests.helpers.datastore_v1 import (
    AND,
    GREATER_OR_EQUAL,
    HAS_ANCESTOR,
    RawClient,
    combine,
    entity,
    key,
    where,
)

HASTY = 0.4
"""Seconds after which a call counts as one that waits for another transaction."""

State = dict[int, int]
"""The entities: the number p of each id."""
WRITING = ("write", "single")
IDS = range(1, 5)
PARENT = ("P", 1)
INITIAL: State = {1: 10, 2: 20, 3: 30}


@dataclass(frozen=True)
class Plan:
    """A transaction: what it reads, then what it writes."""

    kind: str
    """write, read_only, single (a commit without a transaction) or given_up."""
    reads: tuple[tuple[str, int], ...]
    """Lookups of an id; queries for p from a number up, "children" with an ancestor."""
    writes: tuple[tuple[int, int | None], ...]
    """New numbers; None deletes."""

    @property
    def steps(self) -> int:
        """The number of its calls, with that which ends it."""
        return 1 if self.kind == "single" else len(self.reads) + 1


reads = st.tuples(st.just("lookup"), st.sampled_from(IDS)) | st.tuples(
    st.sampled_from(["query", "children"]), st.sampled_from([0, 15, 25, 99])
)
plans = st.builds(
    Plan,
    st.sampled_from(["write"] * 4 + ["read_only", "single", "given_up"]),
    st.lists(reads, min_size=1, max_size=2).map(tuple),
    st.dictionaries(
        st.sampled_from(IDS), st.integers(1, 39) | st.none(), min_size=1, max_size=2
    ).map(lambda writes: tuple(writes.items())),
)


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[int, Plan]]:
    """Two or three transactions, and the order of their steps."""
    made = draw(st.lists(plans, min_size=2, max_size=3))
    steps = [number for number, plan in enumerate(made) for _ in range(plan.steps)]
    return [(number, made[number]) for number in draw(st.permutations(steps))]


def conflicts(one: Plan, other: Plan) -> bool:
    """Return whether the writes of one transaction change what the other one uses."""
    used = set() if other.kind == "single" else {*other.reads}
    if other.kind in WRITING:
        used |= {("lookup", number) for number, _ in other.writes}
    return one.kind in WRITING and any(
        _touches(read, number, p) for read in used for number, p in one.writes
    )


def _touches(read: tuple[str, int], number: int, p: int | None) -> bool:
    """Return whether a write changes what a read finds."""
    operation, asked = read
    if operation == "lookup":
        return asked == number
    return max(p or 0, INITIAL.get(number, 0)) >= asked


def seen(read: tuple[str, int], state: State) -> Any:
    """Return what a read finds in a state."""
    operation, number = read
    if operation == "lookup":
        return state.get(number)
    return {own: p for own, p in state.items() if p >= number}


@dataclass
class Run:
    """A transaction on a server."""

    plan: Plan
    found: list[Any] = field(default_factory=list)
    """What its reads have found."""
    outcome: str = ""
    """How it ended.

    committed, rolled_back as planned, failed, or unknown: the server did not answer its
    commit in time.
    """
    id: bytes = b""


@dataclass
class Outcome:
    """What a program did on a server."""

    runs: list[Run]
    final: State

    @property
    def outcomes(self) -> list[str]:
        """How each transaction ended."""
        return [run.outcome for run in self.runs]

    def is_serializable(self) -> bool:
        """Return whether the transactions that count ran as if one after another.

        A commit without an answer may count or not. Reads of a transaction that failed
        are consistent too.
        """
        return any(
            self._explains(order)
            for chosen in self._choices()
            for order in itertools.permutations(chosen)
        )

    def _choices(self) -> Iterator[list[tuple[Run, bool]]]:
        """Yield each choice of the transactions that have written."""
        options = {"committed": (True,), "unknown": (True, False)}
        choices = [options.get(run.outcome, (False,)) for run in self.runs]
        for wrote in itertools.product(*choices):
            yield list(zip(self.runs, wrote, strict=True))

    def _explains(self, order: Iterable[tuple[Run, bool]]) -> bool:
        state = dict(INITIAL)
        for run, wrote in order:
            reads = zip(run.plan.reads, run.found, strict=False)
            if any(seen(read, state) != found for read, found in reads):
                return False
            if wrote:
                apply(run.plan, state)
        return state == self.final


def apply(plan: Plan, state: State) -> None:
    """Make the writes of a transaction."""
    for number, p in plan.writes:
        if p is None:
            state.pop(number, None)
        else:
            state[number] = p


class Player:
    """Runs a program on a server."""

    def __init__(
        self, client: RawClient, namespace: str, *, hasty: bool = False
    ) -> None:
        """Give up calls that wait, if the server lets them wait for each other."""
        self._patient = client
        self._client = client.within(HASTY) if hasty else client
        self._namespace = namespace

    def play(self, program: list[tuple[int, Plan]]) -> Outcome:
        """Run the steps in order, and return the outcome."""
        self._patient.upsert(*(self._entity(*item) for item in INITIAL.items()))
        plans = dict(program)
        runs = {number: Run(plans[number]) for number in sorted(plans)}
        for number, _ in program:
            if not runs[number].outcome:
                self._step(runs[number])
        return Outcome(list(runs.values()), self._query(self._patient))

    def _step(self, run: Run) -> None:
        try:
            self._call(run)
        except grpc.RpcError as error:
            late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            commits = run.plan.kind == "single" or len(run.found) == len(run.plan.reads)
            run.outcome = "unknown" if late and commits else "failed"
            if run.outcome == "failed" and run.id:
                self._give_up(run)

    def _call(self, run: Run) -> None:
        plan = run.plan
        if plan.kind == "single":
            self._client.commit(*self._mutations(plan))
            run.outcome = "committed"
            return
        if not run.id:
            chosen: Any = {"read_only": {}} if plan.kind == "read_only" else {}
            begun = self._client.call("BeginTransaction", transaction_options=chosen)
            run.id = begun.transaction
        if len(run.found) < len(plan.reads):
            run.found.append(self._read(plan.reads[len(run.found)], run.id))
        elif plan.kind == "write":
            self._client.commit(*self._mutations(plan), transaction=run.id)
            run.outcome = "committed"
        else:
            self._client.call("Rollback", transaction=run.id)
            run.outcome = "rolled_back"

    def _give_up(self, run: Run) -> None:
        with contextlib.suppress(grpc.RpcError):  # it has ended
            self._client.call("Rollback", transaction=run.id)

    def _key(self, number: int) -> Any:
        return key(*PARENT, "K", number, namespace=self._namespace)

    def _entity(self, number: int, p: int) -> Any:
        return entity(self._key(number), p=p)

    def _mutations(self, plan: Plan) -> list[Any]:
        return [
            {"delete": self._key(number)}
            if p is None
            else {"upsert": self._entity(number, p)}
            for number, p in plan.writes
        ]

    def _read(self, read: tuple[str, int], transaction: bytes) -> Any:
        operation, number = read
        options = {"transaction": transaction}
        if operation != "lookup":
            filters = [where("p", GREATER_OR_EQUAL, number)]
            if operation == "children":
                parent = key(*PARENT, namespace=self._namespace)
                filters.append(where("__key__", HAS_ANCESTOR, parent))
            return self._query(self._client, combine(AND, *filters), options)
        keys = [self._key(number)]
        answer = self._client.call("Lookup", keys=keys, read_options=options)
        return _p(answer.found[0]) if answer.found else None

    def _query(
        self, client: RawClient, wanted: Any = None, options: Any = None
    ) -> State:
        batch = client.run("K", self._namespace, filter=wanted, read_options=options)
        return {
            result.entity.key.path[-1].id: _p(result) for result in batch.entity_results
        }


def _p(result: Any) -> int:
    p: int = result.entity.properties["p"].integer_value
    return p
