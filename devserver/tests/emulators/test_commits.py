"""The same random commits here and on Google's emulators.

The test leaves out where an emulator differs from google/datastore/v1/datastore.proto:

- Unless a conflict must fail, the Firestore emulator ignores base_version. With FAIL,
  it reports a conflict before a missing or an existing entity.
- Outside a transaction, both carry out some mutations of a commit that fails.
- If two mutations of a commit are wrong, each server may report either.
- The Datastore emulator carries out sequences of mutations on one entity that are
  documented as not permitted, or fails for another reason.
- It accepts a strategy for conflicts without an expected version.
- It gives new entities ids from 1 up.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.emulators.answers import Answer, answer, new_namespace, path
from tests.helpers.datastore_v1 import RawClient, entity, key

Path = tuple[Any, ...]

OPERATIONS = ("insert", "update", "upsert", "upsert", "delete")
PATHS: list[Path] = [("K", 1), ("K", 2), ("K", 1, "K", "a")]
INVALID: list[Path] = [("K", 0), ("__k__", 1), ("K", "__n__"), ("K", "", "L", 1), ("",)]
SERVER_VALUE, FAIL = 1, 3


@dataclass
class Change:
    """A mutation; each server gives the entities versions of its own."""

    operation: str
    path: Path
    number: int
    base: int | None
    """The place of the expected version in the history of versions."""
    strategy: int


changes = st.builds(
    Change,
    st.sampled_from(OPERATIONS),
    st.sampled_from(PATHS * 4 + [("K",), ("K", 1, "K")] + INVALID),
    st.integers(0, 2),
    st.sampled_from([None, None, None, 0, -1, -2]),
    st.sampled_from([0, 0, SERVER_VALUE, FAIL, FAIL]),
)
commits = st.lists(
    st.tuples(
        st.sampled_from(["", "single_use", "begun"]),
        st.lists(changes, min_size=1, max_size=3),
    ),
    min_size=2,
    max_size=8,
)


@dataclass
class Server:
    """A server, and the versions that it has given its entities."""

    client: RawClient
    namespace: str
    _versions: dict[Path, list[int]] = field(default_factory=dict)

    def _mutation(self, change: Change) -> dict[str, Any]:
        own = key(*change.path, namespace=self.namespace)
        content = own if change.operation == "delete" else entity(own, x=change.number)
        mutation = {change.operation: content}
        if change.strategy:
            mutation["conflict_resolution_strategy"] = change.strategy
        if change.base is not None:
            known = [0, 0, *self._versions.get(change.path, [])]
            mutation["base_version"] = known[change.base]
        return mutation

    def commit(self, mode: str, changes: list[Change]) -> Any:
        """Commit; return the form of each mutation's result, or the status."""
        fields: dict[str, Any] = {"mode": 1 if mode else 2}
        if mode == "single_use":
            fields["single_use_transaction"] = {}
        elif mode == "begun":
            fields["transaction"] = self.client.call("BeginTransaction").transaction
        mutations = [self._mutation(change) for change in changes]
        try:
            answered = self.client.call("Commit", mutations=mutations, **fields)
        except grpc.RpcError as error:
            return error.code()
        found = answered.mutation_results
        for change, result in zip(changes, found, strict=True):
            exists = change.operation != "delete"
            if not result.conflict_detected:
                self._versions.setdefault(change.path, []).append(
                    result.version if exists else 0
                )
        return [
            (
                [kind for kind, _ in path(result.key)],
                bool(result.version),
                result.conflict_detected,
            )
            for result in found
        ]

    def entities(self) -> Any:
        """Return all entities, those with an allocated id without it."""
        found = answer(self.client, None, self.namespace, {"order": ("__key__",)})
        assert isinstance(found, Answer)
        known = [[*zip(own[::2], own[1::2], strict=True)] for own in PATHS]
        return [
            (own if own in known else own[:-1], properties)
            for own, properties in found.results
        ]


def check(raw: RawClient, google: RawClient, made: list[Any]) -> None:
    """Make the commits on both servers, and compare results and entities."""
    namespace = new_namespace()
    ours, theirs = Server(raw, namespace), Server(google, namespace)
    for mode, several in made:
        expected, found = theirs.commit(mode, several), ours.commit(mode, several)
        failed = isinstance(expected, grpc.StatusCode)
        if failed and len(several) > 1:
            assert isinstance(found, grpc.StatusCode), (mode, several)
            if not mode:
                return  # the emulators may have carried out some of its mutations
        else:
            assert found == expected, (mode, several)
        assert ours.entities() == theirs.entities(), (mode, several)


@given(commits)
def test_commits(raw: RawClient, firestore: RawClient, made: list[Any]) -> None:
    """The same commits succeed, with the same results, and leave the same entities."""
    for _, several in made:
        for change in several:
            expects = change.base is not None
            assume(not expects or change.strategy == FAIL)
            assume(not expects or change.operation in ("upsert", "delete"))
    check(raw, firestore, made)


@given(commits)
def test_versions(raw: RawClient, emulator: RawClient, made: list[Any]) -> None:
    """A mutation with a base_version changes only an entity of that version."""
    for _, several in made:
        paths = [change.path for change in several]
        assume(len(paths) == len(set(paths)))
    made = [
        (
            mode,
            [
                change if change.base is not None else replace(change, strategy=0)
                for change in several
            ],
        )
        for mode, several in made
    ]
    check(raw, emulator, made)
