"""Reads as of a time, which a request may choose."""

import time
from typing import Any

from gae_devserver.datastore_v1.databases import Database
from gae_devserver.rpc.errors import UnimplementedError, check


def check_read_time(database: Database, options: Any) -> None:
    """Refuse to read as of a time before the last change.

    Raises:
        InvalidArgumentError: the time is in the future.
        UnimplementedError: the time is before the last change; the dev server does
            not keep older versions of entities.
    """
    if not options.HasField("read_time"):
        return
    read_time = options.read_time.seconds * 1000 + options.read_time.nanos // 10**6
    last_change = database.store._GetReadTimestamp()
    # Each change gets a millisecond of its own, so the last may be ahead of the clock.
    check(
        read_time <= max(time.time() * 1000, last_change),
        "The requested 'read_time' cannot be in the future.",
    )
    if read_time < last_change:
        raise UnimplementedError(
            "the dev server does not implement read_time before the last change"
        )
