"""Runs queries: what they find, a batch at a time."""

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

from gae_devserver.datastore.index_query import precedes
from gae_devserver.datastore.index_scan import Hit, find
from gae_devserver.datastore.indexed_store import View
from gae_devserver.datastore.property_index import KindIndex
from gae_devserver.datastore_v1 import cursors, messages, metadata, results
from gae_devserver.datastore_v1.errors import check
from gae_devserver.datastore_v1.keys import Partition
from gae_devserver.datastore_v1.queries import ParsedQuery

MAX_BATCH_RESULTS = 1000
MAX_BATCH_BYTES = 2 * 2**20
"""One result more of 1 MiB, and an answer still fits into gRPC's usual 4 MiB.

What is left comes with the next batch of a query, or is a deferred key of a lookup.
"""

_MORE = messages.QueryResultBatch.MoreResultsType
_RESULT = messages.EntityResult.ResultType


class Search:
    """A query on a view of the entities."""

    def __init__(self, view: View, query: ParsedQuery, partition: Partition) -> None:
        self._view = view
        self._query = query
        self._partition = partition

    def hits(self) -> Iterator[Hit]:
        """Yield the results from the start cursor on, also those behind the end."""
        index, search, start = self._index(), self._query.search, self._query.start
        if start is None:
            return find(index, search)
        return find(index, search, start.position, inclusive=start.before)

    def _index(self) -> KindIndex:
        view, namespace, kind = self._view, self._query.namespace, self._query.kind
        if not kind:
            kinds = (view.kind(own) for own in view.kinds() if own[0] == namespace)
            return KindIndex.of(row for kind in kinds for row in kind.rows.values())
        found = metadata.find(view, namespace, kind, self._partition)
        return view.kind((namespace, kind)) if found is None else found

    def _in_reach(self, hit: Hit) -> bool:
        end, orders = self._query.end, self._query.search.orders
        if end is None:
            return True
        if end.before:
            return precedes(hit.position, end.position, orders)
        return not precedes(end.position, hit.position, orders)

    def within_limits(self) -> Iterator[Hit]:
        """Yield the results between offset and limit, up to the end cursor."""
        query = self._query
        found = takewhile(self._in_reach, self.hits())
        stop = None if query.limit is None else query.offset + query.limit
        return islice(found, query.offset, stop)

    def batch(self, into: Any, mask: list[list[str]] | None) -> None:
        """Write the first batch of results into a QueryResultBatch."""
        query = self._query
        into.entity_result_type = _RESULT.FULL
        if query.keys_only:
            into.entity_result_type = _RESULT.KEY_ONLY
        elif query.projection:
            into.entity_result_type = _RESULT.PROJECTION
        check(
            mask is None or into.entity_result_type == _RESULT.FULL,
            "property_mask cannot be set for a projection query",
        )
        size = 0
        last: Hit | None = None
        into.more_results = _MORE.NO_MORE_RESULTS
        for hit in self.hits():
            if not self._in_reach(hit):
                into.more_results = _MORE.MORE_RESULTS_AFTER_CURSOR
                break
            if into.skipped_results < query.offset:
                into.skipped_results += 1
                last = hit
                continue
            if query.limit is not None and len(into.entity_results) >= query.limit:
                into.more_results = _MORE.MORE_RESULTS_AFTER_LIMIT
                break
            if len(into.entity_results) == MAX_BATCH_RESULTS or size > MAX_BATCH_BYTES:
                into.more_results = _MORE.NOT_FINISHED
                break
            result = into.entity_results.add()
            self._write(hit, result, mask)
            size += result.ByteSize()
            last = hit
        into.end_cursor = self._cursor(last) if last else query.start_cursor
        if into.skipped_results and not into.entity_results:
            into.skipped_cursor = into.end_cursor

    def _write(self, hit: Hit, into: Any, mask: list[list[str]] | None) -> None:
        query = self._query
        into.cursor = self._cursor(hit)
        if query.keys_only or query.projection:
            self._partition.write_key(query.namespace, hit.row.path, into.entity.key)
            results.write_projection(hit, query.projection, into.entity)
        else:
            results.write_entity(hit.row, into, mask)

    def _cursor(self, hit: Hit) -> bytes:
        query = self._query
        return cursors.encode(
            hit.position, query.search.orders, query.namespace, self._partition
        )
