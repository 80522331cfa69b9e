"""Notices the queries that need a composite index which index.yaml lacks."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from google.appengine.datastore import datastore_index, datastore_stub_index

from gae_devserver.config.index_yaml import (
    MARKER,
    IndexYaml,
    Key,
    add_generated,
    yaml_of,
)
from gae_devserver.config.parsing import ConfigError
from gae_devserver.datastore.query_shape import QueryShape, best_index
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver")

WhenMissing = Literal["report", "refuse", "write"]
"""What to do about a query whose index is missing, besides listing the index."""
_MOST_SHAPES = 500
"""How many shapes of queries are kept, for an app that makes up property names."""


class NeedIndexError(Exception):
    """A query needs an index; str() is what production says."""


class NeededIndexes:
    """The indexes that the app's queries have needed."""

    def __init__(
        self, path: Path, file: IndexYaml, when_missing: WhenMissing = "report"
    ) -> None:
        """Begin with what index.yaml has, whose path may not exist."""
        self._path = path
        self._file = file
        self._when_missing = when_missing
        self._served: set[QueryShape] = set()
        self._missing: dict[QueryShape, Key] = {}
        self._counts: Counter[QueryShape] = Counter()
        self._reported: set[str] = set()

    @property
    def file(self) -> IndexYaml:
        """Return index.yaml as it is in effect."""
        return self._file

    @property
    def queries(self) -> int:
        """How many queries needed an index that index.yaml lacks."""
        return self._counts.total()

    def missing(self) -> list[Key]:
        """Return the indexes to add to index.yaml, without duplicates."""
        return sorted(self.missing_counts())

    def missing_counts(self) -> dict[Key, int]:
        """Return how many queries needed each of these indexes."""
        indexes: dict[Key, int] = {}
        for shape, key in self._missing.items():
            count = self._counts[shape]
            datastore_stub_index._UpdateGeneratedIndexes(key, count, indexes)
        return indexes

    def check(self, shape: QueryShape) -> None:
        """Notice a query that is about to run.

        Raises:
            NeedIndexError: its index is missing, and such queries are refused.
        """
        if shape in self._served:
            return
        key = self._missing.get(shape)
        if key is None:
            query = shape.query()
            if self._serves(shape, query):
                if len(self._served) >= _MOST_SHAPES:
                    self._served.clear()
                self._served.add(shape)
                return
            key = best_index(query)
            if len(self._missing) < _MOST_SHAPES:
                self._missing[shape] = key
                self._report(key)
        if shape in self._missing:
            self._counts[shape] += 1
        if self._when_missing == "refuse":
            raise NeedIndexError(
                f"no matching index found. recommended index is:\n{yaml_of(key)}\n"
            )

    def apply(self, file: IndexYaml) -> None:
        """Use an edited index.yaml."""
        if file == self._file:
            return
        self._use(file)
        logger.info(
            "index.yaml was read again. Indexes: %d, missing: %d",
            len(file.keys),
            len(self.missing()),
        )
        if self._missing and self._when_missing == "write":
            self._write(self.missing())

    def clear(self) -> None:
        """Forget the queries."""
        self._missing.clear()
        self._counts.clear()
        self._reported.clear()

    def _serves(self, shape: QueryShape, query: Any) -> bool:
        """Return whether the indexes serve a query, alone or merged."""
        indexes = self._file.definitions
        minimal = datastore_index.MinimalCompositeIndexForQuery
        return not shape.is_ordinary or minimal(query, indexes) is None

    def _use(self, file: IndexYaml) -> None:
        self._file = file
        self._served.clear()
        self._missing = {
            shape: key
            for shape, key in self._missing.items()
            if not self._serves(shape, shape.query())
        }
        # if an edit removes one of the others later, it is logged again
        self._reported = set(map(_in_words, self._missing.values()))

    def _report(self, key: Key) -> None:
        """Log a missing index once, and write it if the server does."""
        # not the key, which can differ only in a direction that no query needs
        words = _in_words(key)
        if words in self._reported:
            return
        self._reported.add(words)
        if self._when_missing == "write":
            self._write([key])
            return
        refused = self._when_missing == "refuse"
        logger.warning(
            "a query needs the index %s, which index.yaml lacks: it %s in production. "
            "Add the entry that GET /indexes of the State API shows, or let "
            "--write-indexes add it",
            words,
            "is refused, as" if refused else "fails",
        )

    def _write(self, new: Iterable[Key]) -> None:
        """Add the missing indexes to index.yaml, and log whether `new` are there."""
        names = ", ".join(map(_in_words, new))
        try:
            if not self._file.is_manual:
                self._use(add_generated(self._path, self._missing.values()))
        except (ConfigError, OSError) as error:
            logger.error("index.yaml lacks %s, and cannot be changed: %s", names, error)
            return
        if self._file.is_manual:
            logger.warning(
                "index.yaml lacks %s. The server does not change a file without the "
                "line '%s'. Add that line at the end of it",
                names,
                MARKER,
            )
        else:
            logger.info("index.yaml now has %s", names)


def _in_words(key: Key) -> str:
    kind, ancestor, properties = key
    names = [*(["ancestor"] if ancestor else []), *map(_property_in_words, properties)]
    return printable(f"{kind} ({', '.join(names)})")


def _property_in_words(spec: Any) -> str:
    descending = spec.direction == datastore_index.DESCENDING
    return f"{spec.name} desc" if descending else str(spec.name)
