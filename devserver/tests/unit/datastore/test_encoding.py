"""Keys and values as tuples that sort like them."""

import math

from google.appengine.api import datastore_types
from google.appengine.datastore import entity_bytes_pb2
from hypothesis import given
from hypothesis import strategies as st

from gae_devserver.datastore.encoding import (
    after_descendants,
    double_of,
    indexed_values,
    path_of,
    property_value,
    sortable_double,
    value_key,
)
from tests.helpers.calls import reference
from tests.helpers.entities import entity_of, value_of, values


@given(values, values)
def test_a_sort_key_keeps_order_and_value(one: object, other: object) -> None:
    """Sort keys are equal where the SDK's own are, and give the value back."""
    messages = value_of(one), value_of(other)
    first, second = map(value_key, messages)
    theirs, others = map(datastore_types.PropertyValueToKeyValue, messages)
    assert (first == second) == (theirs == others)
    again = entity_bytes_pb2.PropertyValue()
    property_value(first, again)
    assert value_key(again) == first


@given(st.floats(), st.floats())
def test_doubles_sort_as_integers(one: float, other: float) -> None:
    """The integers sort as the doubles, NaN last, and are converted back to them."""
    keys = sortable_double(one), sortable_double(other)
    if one < other:
        assert keys[0] < keys[1]
    elif math.isnan(one) and not math.isnan(other):
        assert keys[0] > keys[1]
    assert double_of(keys[0]) == one or math.isnan(one)


def test_ids_sort_before_names_and_parents_before_children() -> None:
    """Keys sort by kind, then ids, then names; a key sorts before its children."""
    keys = [("A", 2), ("A", 10), ("A", 10, "A", 1), ("A", "1"), ("A", "1", "A", 1)]
    paths = [path_of(reference(*key).path.element) for key in (*keys, ("B", 1))]
    assert paths == sorted(paths)
    assert paths[2] < after_descendants(paths[1]) < paths[3]
    assert paths[4] < after_descendants(paths[3]) < paths[5]


def test_only_some_properties_are_indexed() -> None:
    """Of the properties without an index, only indexed embedded entities count."""
    inner = entity_of(reference("Inner", 1), b=[1, 2])
    entity = entity_of(reference("A", 1), a=[1])
    entity.raw_property.add(name="text", multiple=False).value.int64Value = 1
    for name, uri in (("in", "INDEXED"), ("out", "")):
        item = entity.raw_property.add(name=name, multiple=False, meaning_uri=uri)
        item.meaning = entity_bytes_pb2.Property.ENTITY_PROTO
        item.value.stringValue = inner.SerializeToString()
    found = list(indexed_values(entity))
    assert found == [("a", (1, 1)), ("in.b", (1, 1)), ("in.b", (1, 2))]
