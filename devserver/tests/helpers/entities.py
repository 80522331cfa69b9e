"""Entities of version 3 of the datastore's API, with properties of any type."""

from collections.abc import Sequence

from google.appengine.api.datastore_types import ByteString, GeoPt, Key, ToPropertyPb
from google.appengine.api.users import User
from google.appengine.datastore import entity_bytes_pb2
from hypothesis import strategies as st

from tests.helpers.calls import APP_ID, Message

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([ByteString(text) for text in (b"", b"a", b"ab", b"\xff")]),
    st.sampled_from([-0.0, 0.0, 1.5, -2.0, float("inf"), -float("inf"), float("nan")]),
    st.sampled_from([GeoPt(1, 3), GeoPt(2, 3)]),
    st.sampled_from([User("a@b", "example.com"), User("c@d", "example.com")]),
    # Not ids beside names: the SDK cannot sort lists of both on Python 3.
    st.sampled_from([Key.from_path("K", number, _app=APP_ID) for number in (1, 2)]),
)
"""Values of properties."""


def value_of(content: object) -> Message:
    """Return a PropertyValue."""
    return ToPropertyPb("", content).value


def entity_of(key: Message, **properties: Sequence[object]) -> Message:
    """Return an entity with the values of each property."""
    entity = entity_bytes_pb2.EntityProto()
    entity.key.CopyFrom(key)
    entity.entity_group.element.add().CopyFrom(key.path.element[0])
    for name, contents in properties.items():
        items = ToPropertyPb(name, contents)
        for item in items:
            item.multiple = len(contents) > 1
        entity.property.extend(items)
    return entity
