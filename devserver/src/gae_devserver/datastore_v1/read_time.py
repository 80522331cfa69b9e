"""Reads as of a time, which a request may choose."""

from datetime import UTC, datetime, timedelta
from typing import Any

from gae_devserver.datastore.views import Snapshot
from gae_devserver.datastore_v1.databases import Database
from gae_devserver.rpc.errors import FailedPreconditionError, check

_EPOCH = datetime.fromtimestamp(0, UTC)


def as_of(database: Database, read_time: Any) -> Snapshot:
    """Return the entities as they were at a time.

    What a commit has stored is there from its own time on.

    Raises:
        InvalidArgumentError: the time is not valid, or in the future.
        FailedPreconditionError: the dev server does not remember that time: see
            `gae_devserver.datastore.history`.
    """
    check(
        read_time.seconds >= 0 and 0 <= read_time.nanos < 10**9,
        "Only timestamps past epoch are supported.",
    )
    check(
        read_time.nanos % 1000 == 0,
        "timestamp cannot have more than microseconds precision",
    )
    time = read_time.seconds * 10**6 + read_time.nanos // 1000
    now = database.store.read_time()
    check(time <= now, "The requested 'read_time' cannot be in the future.")
    earliest = database.store.history.earliest(now)
    if time < earliest:
        moment = (_EPOCH + timedelta(microseconds=earliest)).isoformat()
        raise FailedPreconditionError(
            "The requested 'read_time' is too old. The dev server remembers the last"
            f" hour at most, at present since {moment}."
        )
    return database.store.as_of(time)
