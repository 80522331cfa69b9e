"""Finds entities for people: filtered, sorted and in pages, with none left out.

Queries of the app only find entities that have an indexed value of each property that
they name. This search needs no index: it finds the others too, sorts those without the
property last, and counts what the app's query would miss. Large kinds are searched in
slices, so that the app's calls have their turn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gae_devserver.console.datastore.entity_filters import Filter
from gae_devserver.console.datastore.typed_keys import TypedError
from gae_devserver.console.frame import bodies
from gae_devserver.console.frame.turns import in_turns
from gae_devserver.datastore.encoding import KEY_PROPERTY, ValueKey, value_key
from gae_devserver.datastore.index_query import (
    KEY_ORDER,
    Conjunction,
    IndexQuery,
    Order,
    Position,
    precedes,
)
from gae_devserver.datastore.index_scan import find
from gae_devserver.datastore.property_index import KindIndex, Row
from gae_devserver.datastore_v1 import cursors, metadata_kinds
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.datastore_v1.limits import Limits
from gae_devserver.rpc.errors import RpcError


@dataclass(frozen=True)
class Question:
    """Which entities to show."""

    database: Database
    namespace: str
    kind: str
    filters: Sequence[Filter] = ()
    order: Order = KEY_ORDER
    cursor: str = ""

    @property
    def is_plain(self) -> bool:
        """Return whether the order of the keys alone decides."""
        return not self.filters and self.order == KEY_ORDER


@dataclass(frozen=True)
class Page:
    """Some of the entities."""

    rows: list[Row]
    cursor: str | None
    """Where the next page begins; None: there is none."""
    found: int
    """How many entities the filters let pass."""
    unsorted: int
    """How many of them do not have the property of the order."""
    unindexed: tuple[str, ...]
    """Properties in the question that some of them have without an index."""


async def search(question: Question, limit: int) -> Page:
    """Return the entities after the cursor.

    Raises:
        TypedError: the cursor is of another question.
        RpcError: the same.
    """
    database, kind = question.database, (question.namespace, question.kind)
    index = metadata_kinds.find(database.store, *kind, database.partition)
    if index is None:
        index = database.store.kind(kind)
    if question.is_plain:
        return _plain(question, index, limit)
    return await _Scan(question, limit).run(list(index.rows.values()))


def _plain(question: Question, index: KindIndex, limit: int) -> Page:
    start = _decode(question, (KEY_ORDER,)) if question.cursor else None
    query = IndexQuery([Conjunction()], (KEY_ORDER,))
    limits = question.database.limits
    rows, more = _cut((hit.row for hit in find(index, query, start)), limit, limits)
    cursor = _encode(question, (rows[-1].path,), (KEY_ORDER,)) if more else None
    return Page(rows, cursor, len(index.rows), 0, ())


def _cut(rows: Iterator[Row], limit: int, limits: Limits) -> tuple[list[Row], bool]:
    """Return the first rows, and whether there are more."""
    page: list[Row] = []
    size = 0
    for row in rows:
        if page and (len(page) == limit or size > limits.batch_bytes):
            return page, True
        page.append(row)
        size += row.record.entity.ByteSize()
    return page, False


class _Scan:
    """Looks at every entity of a kind, and keeps those of one page."""

    def __init__(self, question: Question, limit: int) -> None:
        self._question = question
        self._limit = limit
        name, descending = question.order
        self._name, self._descending = name, descending
        self._orders: tuple[Order, ...] = (question.order,)
        if name != KEY_PROPERTY:
            self._orders = (question.order, KEY_ORDER)
        self._start: Position | None = None
        """The last position of the page before, if it has the property."""
        self._start_without: Position | None = None
        if question.cursor:
            try:
                self._start = _decode(question, self._orders)
            except (RpcError, TypedError):
                if len(self._orders) == 1:
                    raise
                self._start_without = _decode(question, (KEY_ORDER,))
        self._with: list[tuple[Position, Row]] = []
        self._without: list[tuple[Position, Row]] = []
        self._found = self._unsorted = 0
        self._unindexed: set[str] = set()

    async def run(self, rows: Sequence[Row]) -> Page:
        async for row in in_turns(rows):
            self._look_at(row)
            if len(self._with) + len(self._without) > 10 * self._limit:
                self._shorten()
        self._shorten()
        both = self._with + self._without
        limits = self._question.database.limits
        page, more = _cut((row for _, row in both), self._limit, limits)
        cursor = None
        if more:
            position = both[len(page) - 1][0]
            orders = self._orders if len(page) <= len(self._with) else (KEY_ORDER,)
            cursor = _encode(self._question, position, orders)
        names = {one.name for one in self._question.filters} | {self._name}
        unindexed = tuple(sorted(self._unindexed & names))
        return Page(page, cursor, self._found, self._unsorted, unindexed)

    def _look_at(self, row: Row) -> None:
        if not all(self._passes(row, one) for one in self._question.filters):
            return
        self._found += 1
        values = self._values(row, self._name)
        if not values:
            self._unsorted += 1
            position: Position = (row.path,)
            if self._start_without is None or self._start_without < position:
                self._without.append((position, row))
            return
        position = (max(values) if self._descending else min(values),)
        if self._name != KEY_PROPERTY:
            position = (*position, row.path)
        if self._start_without is not None:
            return
        if self._start is None or precedes(self._start, position, self._orders):
            self._with.append((position, row))

    def _shorten(self) -> None:
        """Keep what the page needs, and one more."""
        # Sorting is stable, so the first order is applied last.
        for place, (_, descending) in reversed(list(enumerate(self._orders))):
            self._with.sort(key=lambda one: one[0][place], reverse=descending)
        del self._with[self._limit + 1 :]
        self._without.sort(key=lambda one: one[0])
        del self._without[self._limit + 1 :]

    def _passes(self, row: Row, one: Filter) -> bool:
        return any(
            _compare(value, one.operator, one.value)
            for value in self._values(row, one.name)
        )

    def _values(self, row: Row, name: str) -> Sequence[ValueKey]:
        """Return the values of a property, also those that have no index."""
        values = row.values(name)
        others = [
            value_key(item.value)
            for item in row.record.entity.raw_property
            if item.name == name
        ]
        if others:
            self._unindexed.add(name)
        return [*values, *others]


def _compare(value: ValueKey, operator: str, other: ValueKey) -> bool:
    match operator:
        case "=":
            return value == other
        case "!=":
            return value != other
        case "<":
            return value < other
        case "<=":
            return value <= other
        case ">":
            return value > other
    return value >= other


def _encode(question: Question, position: Position, orders: tuple[Order, ...]) -> str:
    partition = question.database.partition
    place = cursors.encode(position, orders, question.namespace, partition)
    return bodies.cursor_of(place)


def _decode(question: Question, orders: tuple[Order, ...]) -> Position:
    cursor, partition = bodies.place_in(question.cursor), question.database.partition
    namespace, kind = question.namespace, question.kind
    return cursors.decode(cursor, orders, namespace, kind, partition).position
