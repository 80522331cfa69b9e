"""Watch the counter of an app while the documented schedule runs in real time."""

import time

import pytest
from gae_devserver.testing import wait_until

from tests.servers.base import Site

SCHEDULE = ((0, 10), (60, 20), (120, 30))
"""Seconds after the request, and what has been added to the count by then."""

END = 150.0
"""Seconds to watch: nothing more may be added after the last task."""

LATE = 20.0
"""Seconds that a task may be late: App Engine may have to start an instance."""

EARLY = 1.0
"""Seconds that a task may seem early: the clocks of two machines differ."""

INTERVAL = 1.0
"""Seconds between two requests for the count."""

SHOW_INTERVAL = 5.0
"""Seconds between two lines of progress, while the count stays the same."""


def count_of(site: Site) -> int:
    """Return what the counter shows."""
    answer = site.get("/counter/get")
    assert answer.status == 200, answer.text
    return int(answer.text)


def due_after(seconds: float) -> int:
    """Return what is added by the tasks that are due by then."""
    return max([0, *(amount for due, amount in SCHEDULE if due <= seconds)])


def watch_schedule(site: Site, capsys: pytest.CaptureFixture[str]) -> int:
    """Check that 10 are added at once, 20 after a minute, 30 after two, and no more.

    Print lines of progress. Return what the count was before.
    """

    def show(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    show(f"\n{site.url}")
    before = count_of(site)
    # before the request: no task can be deferred earlier
    start = time.monotonic()
    answer = site.get("/counter/increment")
    assert (answer.status, answer.text) == (200, "Deferred counter increment.")
    show(f"   0 s  count {before}, three tasks are deferred")
    added = 0
    shown = 0.0

    def look() -> bool:
        nonlocal added, shown
        asked = time.monotonic() - start
        count = count_of(site)
        seconds = time.monotonic() - start
        now = count - before
        line = f"{now} added after {seconds:.1f} s"
        assert now <= due_after(seconds + EARLY), f"{line}: too early"
        assert now >= due_after(asked - LATE), f"{line}: too late"
        assert now >= added, f"{line}, and {added} before"
        if now != added or seconds - shown >= SHOW_INTERVAL:
            added, shown = now, seconds
            due = [f"the next task is due at {x} s" for x, y in SCHEDULE if y > now]
            show(f"{seconds:4.0f} s  count {count}, {[*due, 'no more is due'][0]}")
        return seconds >= END

    wait_until(look, f"{END} s have passed", END + LATE, INTERVAL)
    show(f"{END:4.0f} s  count {before + added}, as documented")
    return before
