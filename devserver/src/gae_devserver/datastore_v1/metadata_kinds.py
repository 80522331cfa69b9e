"""Metadata kinds __namespace__, __kind__ and __property__, which list what is stored.

https://cloud.google.com/datastore/docs/concepts/metadataqueries
"""

from collections.abc import Callable, Iterator

from google.appengine.datastore import datastore_stub_util
from google.appengine.datastore import entity_bytes_pb2 as entity_pb

from gae_devserver.datastore.encoding import KEY_PROPERTY, Path, add_path
from gae_devserver.datastore.index_query import KEY_ORDER, IndexQuery
from gae_devserver.datastore.property_index import KindIndex, Row
from gae_devserver.datastore.views import View
from gae_devserver.datastore_v1.keys import Partition, is_reserved
from gae_devserver.rpc.errors import check

_EMPTY_NAMESPACE_ID = 1
_REPRESENTATIONS = datastore_stub_util._PROPERTY_TYPE_NAMES

Found = Iterator[tuple[Path, list[str]]]
"""Keys, each with its values of property_representation."""


def _namespaces(view: View, _: str) -> Found:
    for namespace in {namespace for namespace, _ in view.kinds()}:
        identifier = (1, namespace) if namespace else (0, _EMPTY_NAMESPACE_ID)
        yield ("__namespace__", *identifier), []


def _kinds(view: View, namespace: str) -> Found:
    for own, kind in view.kinds():
        if own == namespace:
            yield ("__kind__", 1, kind), []


def _properties(view: View, namespace: str) -> Found:
    for own, kind in view.kinds():
        if own == namespace:
            ranks: dict[str, set[int]] = {}
            for row in view.kind((own, kind)).rows.values():
                for name, values in row.properties().items():
                    ranks.setdefault(name, set()).update(value[0] for value in values)
            for name in ranks.keys() - {KEY_PROPERTY}:
                if not is_reserved(name):
                    path = ("__kind__", 1, kind, "__property__", 1, name)
                    yield path, sorted(_REPRESENTATIONS[rank] for rank in ranks[name])


_KINDS: dict[str, Callable[[View, str], Found]] = {
    "__namespace__": _namespaces,
    "__kind__": _kinds,
    "__property__": _properties,
}


def check_query(kind: str, search: IndexQuery) -> None:
    """Refuse a query of a metadata kind that asks for more than a range of keys.

    The rules are those of ParseKeyFilteredQuery and its callers in the SDK's
    datastore_stub_util.py. Google's Datastore emulator has them too.
    """
    if kind not in _KINDS:
        return
    for conjunction in search.alternatives:
        check(
            conjunction.ancestor is None or kind == "__property__",
            f"ancestor queries on {kind} not allowed",
        )
        names = {*conjunction.equal, *conjunction.ranges, *search.columns}
        excluded = any(one.excluded for one in conjunction.ranges.values())
        check(
            names <= {KEY_PROPERTY} and not excluded,
            "Only comparison filters on __key__ supported",
        )
    check(search.orders == (KEY_ORDER,), "Only ascending order on __key__ supported")


def find(
    view: View, namespace: str, kind: str, partition: Partition
) -> KindIndex | None:
    """Return the entities of a metadata kind; None for any other kind."""
    if kind not in _KINDS:
        return None
    rows = []
    for path, representations in _KINDS[kind](view, namespace):
        entity = entity_pb.EntityProto()
        entity.key.CopyFrom(partition.reference(namespace, path))
        add_path(path[:3], entity.entity_group.element)
        for name in representations:
            item = entity.property.add(name="property_representation", multiple=True)
            item.value.stringValue = name.encode()
        rows.append(Row(path, datastore_stub_util.EntityRecord(entity)))
    return KindIndex.of(rows)
