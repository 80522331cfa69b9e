"""Entities of version 3 of the datastore's API, with properties of any type."""

from collections.abc import Sequence

from google.appengine.datastore import entity_bytes_pb2
from hypothesis import strategies as st

from gae_devserver.datastore.encoding import add_path, path_of
from tests.helpers.calls import Message, reference

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([b"", b"a", b"ab", b"\xff"]),
    st.sampled_from([-0.0, 0.0, 1.5, -2.0, float("inf"), -float("inf"), float("nan")]),
    st.tuples(st.just("point"), st.sampled_from([1.0, 2.0]), st.just(3.0)),
    st.tuples(st.just("user"), st.sampled_from(["a@b", "c@d"])),
    # Not ids beside names: the SDK cannot sort lists of both on Python 3.
    st.tuples(st.just("key"), st.just("K"), st.sampled_from([1, 2])),
)
"""Values of properties, as `set_value` takes them."""


def set_value(value: object, into: Message) -> None:
    """Fill a PropertyValue."""
    match value:
        case None:
            into.SetInParent()
        case bool():
            into.booleanValue = value
        case int():
            into.int64Value = value
        case float():
            into.doubleValue = value
        case bytes():
            into.stringValue = value
        case ("point", float(x), float(y)):
            into.pointvalue.x, into.pointvalue.y = x, y
        case ("user", str(email)):
            into.uservalue.email, into.uservalue.auth_domain = email, "example.com"
            into.uservalue.gaiaid = 0
        case ("key", *path):
            key = reference(*path)
            into.referencevalue.app = key.app
            add_path(path_of(key.path.element), into.referencevalue.pathelement)


def entity_of(key: Message, **properties: Sequence[object]) -> Message:
    """Return an entity with the values of each property."""
    entity = entity_bytes_pb2.EntityProto()
    entity.key.CopyFrom(key)
    entity.entity_group.element.add().CopyFrom(key.path.element[0])
    for name, contents in properties.items():
        for value in contents:
            item = entity.property.add(name=name, multiple=len(contents) > 1)
            if isinstance(value, bytes):
                item.meaning = entity_bytes_pb2.Property.BYTESTRING
            set_value(value, item.value)
    return entity
