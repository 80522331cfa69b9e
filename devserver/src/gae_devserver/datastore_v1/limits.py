"""The times and sizes that the service documents, which a test may shorten."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of transactions and of answers."""

    idle_seconds: float = 60.0
    """A transaction that is not used for this long expires."""
    total_seconds: float = 270.0
    """No transaction lasts longer.

    Source of both: "Transactions" in the documentation of Firestore in Datastore mode.
    """
    patience: float = 1.0
    """Seconds for which a transaction may keep a lock that others wait for.

    Cloud NDB runs two transactions in one thread and blocks the thread at each call:
    the one that has the lock cannot continue while the other waits for it. A
    transaction of a killed process never continues.
    """
    glance: float = 0.05
    """Seconds for which a transaction waits to read what another one has read.

    That one usually writes it next, and ends in a few milliseconds.
    """
    batch_results: int = 300
    batch_skipped: int = 1000
    """The most results that a batch returns, and that it skips because of an offset.

    Source of both: datastore_stub_util.py of the SDK.
    """
    batch_bytes: int = 2 * 2**20
    """With one more result of 1 MiB, an answer still fits into gRPC's usual 4 MiB.

    The rest comes with the next batch of a query, or is a deferred key of a lookup.
    """


DEFAULT_LIMITS = Limits()
NEVER_EXPIRES = Limits(idle_seconds=math.inf, total_seconds=math.inf)
"""For an app that stops in a transaction, at a prompt."""
