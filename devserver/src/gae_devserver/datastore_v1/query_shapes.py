"""Which indexes a query of version 1 needs: one for each of its alternatives."""

from typing import Any

from gae_devserver.datastore.query_shape import QueryShape
from gae_devserver.datastore_v1 import messages
from gae_devserver.datastore_v1.queries import ParsedQuery

_DESCENDING = messages.PropertyOrder.Direction.DESCENDING


def shapes_of(query: Any, parsed: ParsedQuery) -> frozenset[QueryShape]:
    """Return the shape of each query that together give the results.

    IN and OR have several. Each needs its own index, in the orders of the query.
    """
    search = parsed.search
    # not those of `search`, which are complete: the rest is in no given order
    orders = tuple(
        (item.property.name, item.direction == _DESCENDING) for item in query.order
    )
    return frozenset(
        QueryShape(
            parsed.kind,
            conjunction.ancestor is not None,
            frozenset(conjunction.equal),
            frozenset(conjunction.ranges),
            orders,
            search.columns,
            search.distinct,
        )
        for conjunction in search.alternatives
    )
