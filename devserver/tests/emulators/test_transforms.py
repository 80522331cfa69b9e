"""The same random masks and transforms here and on the Firestore emulator.

The Datastore emulator has no transforms, and a mask there replaces the entity. The test
leaves out where the Firestore emulator differs from the documentation:

- In a path, it knows a backslash only between backticks.
- It stores nested lists, long strings and reserved names that come from a transform.
"""

from typing import Any

import grpc
from hypothesis import given
from hypothesis import strategies as st

from tests.emulators.answers import new_namespace, properties
from tests.emulators.strategies import NAMES, embedded, lists, values
from tests.helpers.datastore_v1 import RawClient, entity, key, value

PATHS = [*NAMES, *(f"{name}.x" for name in NAMES), "a.x.y", "b.y", "d"]
NUMBERS = [0, 1, 3, -(2**63), 2**63 - 1, 2**53 + 1]
DOUBLES = [0.0, -0.0, 1.0, 3.0, 0.5, 2.0**53, 2.0**63, float("nan"), float("-inf")]

numbers = st.builds(
    lambda content, unindexed: value(content, exclude_from_indexes=unindexed),
    st.sampled_from([*NUMBERS, *DOUBLES]),
    st.booleans(),
)
deep = st.builds(
    lambda unindexed, **inner: value(
        entity(None, **inner), exclude_from_indexes=unindexed
    ),
    st.booleans(),
    x=numbers | embedded.map(lambda inner: value(entity(None, y=inner))),
    y=values,
)
contents = st.dictionaries(
    st.sampled_from(NAMES), values | numbers | lists | embedded | deep
)
masks = st.none() | st.lists(st.sampled_from(PATHS), max_size=3)


@st.composite
def transforms(draw: st.DrawFn) -> dict[str, Any]:
    """One transform of a property or of one in an embedded entity."""
    operation = draw(st.sampled_from(["increment", "maximum", "minimum"]))
    operand = draw(numbers)
    if draw(st.booleans()):
        operation = draw(
            st.sampled_from(["append_missing_elements", "remove_all_from_array"])
        )
        items = values | numbers | embedded
        operand = {"values": draw(st.lists(items, max_size=4))}
    return {"property": draw(st.sampled_from(PATHS)), operation: operand}


def outcome(
    client: RawClient, namespace: str, before: Any, mutation: dict[str, Any]
) -> Any:
    """Return what a mutation makes of an entity, or the status if it fails."""
    of = key("K", 1, namespace=namespace)
    client.upsert(entity(of, **before))
    parts = {**mutation, "update": entity(of, **mutation["update"])}
    try:
        (result,) = client.commit(parts).mutation_results
    except grpc.RpcError as error:
        return error.code()
    found = client.call("Lookup", keys=[of]).found[0].entity
    return (
        properties(found),
        [
            item._pb.SerializeToString(deterministic=True)
            for item in result.transform_results
        ],
    )


@given(contents, contents, masks, st.lists(transforms(), max_size=4))
def test_masks_and_transforms(
    raw: RawClient,
    firestore: RawClient,
    before: Any,
    update: Any,
    mask: list[str] | None,
    several: list[Any],
) -> None:
    """What is stored and the results of transforms are the same."""
    mutation: dict[str, Any] = {"update": update, "property_transforms": several}
    if mask is not None:
        mutation["property_mask"] = {"paths": mask}
    namespace = new_namespace()
    ours = outcome(raw, namespace, before, mutation)
    assert ours == outcome(firestore, namespace, before, mutation)
