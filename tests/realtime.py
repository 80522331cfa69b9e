"""Watch the counter of an app while the documented schedule runs in real time."""

import functools
import time
from collections.abc import Callable

from gae_devserver.testing import wait_until

from tests.servers.base import Site

SCHEDULE = ((0, 10), (60, 20), (120, 30))
"""Seconds after the request, and what has been added to the count by then."""

END = 150.0
"""Seconds to watch: nothing more may be added after the last task."""

PATIENCE = 20.0
"""Seconds that a task may be late: App Engine may have to start an instance."""

HASTE = 1.0
"""Seconds that a task may seem early: the clocks of two machines differ."""

INTERVAL = 1.0
"""Seconds between two looks at the counter."""

SHOW_INTERVAL = 5.0
"""Seconds between two lines of progress; a change of the count is shown at once."""


class Watch:
    """A look at the counter now and then, which no count that is too high escapes."""

    def __init__(self, site: Site, show: Callable[[str], None]) -> None:
        """Read the count, let the app defer its tasks, and start to count seconds."""
        self._site = site
        self._show = show
        self._shown = 0.0
        self.before = self._count()
        self.added = 0
        # from before the request on: no task can be deferred earlier
        self._start = time.monotonic()
        answer = site.get("/counter/increment")
        assert (answer.status, answer.text) == (200, "Deferred counter increment.")
        self.show("three tasks are deferred")

    def _count(self) -> int:
        answer = self._site.get("/counter/get")
        assert answer.status == 200, answer.text
        return int(answer.text)

    @property
    def seconds(self) -> float:
        """Seconds since the tasks were deferred."""
        return time.monotonic() - self._start

    def show(self, what: str) -> None:
        """Show a line of progress."""
        self._show(f"{self.seconds:4.0f} s  count {self.before + self.added}, {what}")

    def look(self) -> int:
        """Return what has been added by now, which is never too much, nor less."""
        added = self._count() - self.before
        seconds = self.seconds
        due = max(amount for due, amount in SCHEDULE if due <= seconds + HASTE)
        assert added <= due, f"{added} added after {seconds:.1f} s, expected {due}"
        assert added >= self.added, f"{added} added, after {self.added} were"
        if added != self.added or seconds - self._shown >= SHOW_INTERVAL:
            self.added, self._shown = added, seconds
            coming = [due for due, amount in SCHEDULE if amount > added]
            self.show(
                f"the next task is due at {coming[0]} s" if coming else "no more is due"
            )
        return added

    def has_added(self, amount: int) -> bool:
        """Look whether that much has been added by now."""
        return self.look() >= amount


def watch_schedule(site: Site, show: Callable[[str], None]) -> int:
    """See 10 added at once, 20 after a minute, 30 after two, and no more.

    Return what the count was before.
    """
    watch = Watch(site, show)
    for due, amount in SCHEDULE:
        wait_until(
            functools.partial(watch.has_added, amount),
            f"{amount} are added after {due} s",
            due + PATIENCE - watch.seconds,
            INTERVAL,
        )
    wait_until(
        lambda: watch.look() and watch.seconds >= END,
        f"{END} s have passed",
        END + PATIENCE - watch.seconds,
        INTERVAL,
    )
    watch.show("as documented")
    return watch.before
