"""Runs queries and writes batches of their results."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

from gae_devserver.datastore.index_scan import Hit, Tally, find
from gae_devserver.datastore.property_index import KindIndex
from gae_devserver.datastore.query_shape import QueryShape
from gae_devserver.datastore.views import View
from gae_devserver.datastore_v1 import cursors, messages, metadata_kinds, results
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.queries import ParsedQuery
from gae_devserver.rpc.errors import check

_MORE = messages.QueryResultBatch.MoreResultsType
_RESULT = messages.EntityResult.ResultType


@dataclass(frozen=True)
class Search:
    """A query on a view of the entities."""

    view: View
    query: ParsedQuery
    database: Database
    shapes: frozenset[QueryShape]
    """What decides which indexes it needs."""
    tally: Tally | None = None
    """Counts what it reads, if the client wants to know."""

    def hits(self) -> Iterator[Hit]:
        """Yield all results after the start cursor, even beyond the end cursor."""
        index, search, start = self._index(), self.query.search, self.query.start
        if start is None:
            return find(index, search, tally=self.tally)
        position, before = start
        return find(index, search, position, inclusive=before, tally=self.tally)

    def _index(self) -> KindIndex:
        view, namespace, kind = self.view, self.query.namespace, self.query.kind
        if not kind:
            kinds = (view.kind(own) for own in view.kinds() if own[0] == namespace)
            return KindIndex.of(row for kind in kinds for row in kind.rows.values())
        found = metadata_kinds.find(view, namespace, kind, self.database.partition)
        return view.kind((namespace, kind)) if found is None else found

    def _is_before_end(self, hit: Hit) -> bool:
        end = self.query.end
        return end is None or end.follows(hit.position, self.query.search.orders)

    def within_limits(self) -> Iterator[Hit]:
        """Yield the results up to the end cursor, within offset and limit."""
        query = self.query
        found = takewhile(self._is_before_end, self.hits())
        stop = None if query.limit is None else query.offset + query.limit
        return islice(found, query.offset, stop)

    def batch(self, into: Any, mask: list[list[str]] | None) -> Hit | None:
        """Write the first batch of results; return the last one, even if skipped."""
        query = self.query
        into.entity_result_type = _RESULT.FULL
        if query.keys_only:
            into.entity_result_type = _RESULT.KEY_ONLY
        elif query.projection:
            into.entity_result_type = _RESULT.PROJECTION
        check(
            mask is None or into.entity_result_type == _RESULT.FULL,
            "property_mask cannot be set for a projection query",
        )
        size, limits = 0, self.database.limits
        skipped: Hit | None = None
        last: Hit | None = None
        into.more_results = _MORE.NO_MORE_RESULTS
        if query.limit == 0:
            # As on Google's emulators, nothing is known about what comes after it.
            into.more_results = _MORE.MORE_RESULTS_AFTER_LIMIT
        for hit in self.hits():
            if not self._is_before_end(hit):
                into.more_results = _MORE.MORE_RESULTS_AFTER_CURSOR
                break
            if into.skipped_results < query.offset:
                if into.skipped_results >= limits.batch_skipped:
                    into.more_results = _MORE.NOT_FINISHED
                    break
                into.skipped_results += 1
                last = skipped = hit
                continue
            if query.limit is not None and len(into.entity_results) >= query.limit:
                into.more_results = _MORE.MORE_RESULTS_AFTER_LIMIT
                break
            full = len(into.entity_results) >= limits.batch_results
            if full or size > limits.batch_bytes:
                into.more_results = _MORE.NOT_FINISHED
                break
            result = into.entity_results.add()
            self._write(hit, result, mask)
            size += result.ByteSize()
            last = hit
        into.end_cursor = self._cursor(last) if last else query.start_cursor
        if skipped is not None:
            into.skipped_cursor = self._cursor(skipped)
        return last

    def _write(self, hit: Hit, into: Any, mask: list[list[str]] | None) -> None:
        query = self.query
        into.cursor = self._cursor(hit)
        if query.keys_only or query.projection:
            partition = self.database.partition
            partition.write_key(query.namespace, hit.row.path, into.entity.key)
            results.write_projection(hit, query.projection, into.entity)
        else:
            results.write_entity(hit.row, into, mask)

    def _cursor(self, hit: Hit) -> bytes:
        query = self.query
        return cursors.encode(
            hit.position, query.search.orders, query.namespace, self.database.partition
        )
