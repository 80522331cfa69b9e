"""Lays out the timeline: queues as lanes, tasks and executions as marks.

Positions are percentages of the width, so that the drawing fits every screen.
"""

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
# how much of the time before or after now is shown
_SPANS = (
    *(60, 150, 300, 600, 1800),
    *(hours * _HOUR for hours in (1, 3, 6, 12)),
    *(days * _DAY for days in (1, 3, 7, 30, 100, 365, 3650)),
)
_STEPS = (
    *(10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 14, 30, 61, 183, 365, 730)),
)
_MOST_TICKS = 7
_SHARE = 0.75
"""What part of the tasks the window holds at least; the others are far away."""
_LEAST = 0.2
"""How much shorter the past may be drawn than the future, and the other way round."""
_SLOT = 4.0
"""Marks that are nearer than this are drawn as one, with their number."""
_LABEL = 9.0
"""A label needs this much room on both sides."""
_BADNESS = {"deleted": 1, "running": 2, "failed": 3, "dropped": 4}


@dataclass(frozen=True)
class Point:
    """A task that waits, or an execution."""

    at: float
    """On the server's clock, in seconds since the epoch."""
    outcome: str
    """That of an execution, or "waiting"."""
    title: str
    path: str


@dataclass(frozen=True)
class Waiting:
    """The tasks of a queue."""

    queue: str
    paused: bool
    count: int
    count_until: Callable[[float], int]
    first: Sequence[Point]
    """Those that are due first, in their order."""


@dataclass(frozen=True)
class Mark:
    """One or more points at one place."""

    x: float
    at: float
    outcome: str
    count: int
    title: str
    path: str
    """"": that of the queue."""
    label: bool = False
    """Whether there is room for a text below it."""

    @property
    def text(self) -> str:
        """The number of points in it."""
        if self.count < 1000:
            return str(self.count)
        return f"{self.count / 1000:.1f}k" if self.count < 10_000 else "10k+"


@dataclass(frozen=True)
class Lane:
    """A queue."""

    queue: str
    paused: bool
    count: int
    later: int
    """Tasks that are due after the end of the window."""
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Tick:
    """A time on the axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Chart:
    """The drawing."""

    start: float
    end: float
    now: float
    """Where the present is, as a percentage."""
    lanes: Sequence[Lane]
    ticks: Sequence[Tick]


Place = Callable[[float], float]
"""Returns where a time stands, as a percentage."""


def lay_out(
    now: float,
    waiting: Sequence[Waiting],
    attempts: Sequence[tuple[str, Point]],
    *,
    lanes: int = 12,
) -> Chart:
    """Return the drawing of tasks and executions, which come with their queues.

    It has up to `lanes` queues: those with tasks first, then those with executions.
    """
    past, future = _spans(now, waiting, [point.at for _, point in attempts])
    start, end = now - past, now + future

    def place(moment: float) -> float:
        return 100 * (moment - start) / (end - start)

    by_queue: dict[str, list[Point]] = {}
    for queue, point in attempts:
        if point.at >= start:
            by_queue.setdefault(queue, []).append(point)
    used = [one for one in waiting if one.count or one.queue in by_queue]
    used.sort(key=lambda one: not one.count)
    return Chart(
        start,
        end,
        place(now),
        [
            Lane(
                one.queue,
                one.paused,
                one.count,
                one.count - one.count_until(end),
                _with_labels(
                    [
                        *_marks_of_past(by_queue.get(one.queue, ()), place),
                        *_marks_of_future(one, now, end, place),
                    ]
                ),
            )
            for one in used[:lanes]
        ],
        _ticks(start, end, place),
    )


def _spans(
    now: float, waiting: Sequence[Waiting], ran: Sequence[float]
) -> tuple[float, float]:
    """Return how many seconds before and after now the window has."""
    total = sum(one.count for one in waiting)

    def future_in(seconds: float) -> int:
        return sum(one.count_until(now + seconds) for one in waiting)

    def past_in(seconds: float) -> int:
        return sum(now - seconds <= at for at in ran)

    future, past = _span(total, future_in), _span(len(ran), past_in)
    if not total:
        future = 0.0
    elif ran:
        # what is to come matters more
        past = min(past, max(2 * future, _SPANS[1]))
    if not ran:
        past = 0.0
    return max(past, _LEAST * future, 12.0), max(future, _LEAST * past, 12.0)


def _span(total: int, count_in: Callable[[float], int]) -> float:
    for seconds in _SPANS:
        # what stands at the very edge cannot be read
        if count_in(seconds * 0.95) >= total * _SHARE:
            return seconds
    return _SPANS[-1]


def _marks_of_past(points: Sequence[Point], place: Place) -> list[Mark]:
    slots: dict[int, list[Point]] = {}
    for point in points:
        slots.setdefault(int(place(point.at) / _SLOT), []).append(point)
    marks = []
    for _, together in sorted(slots.items()):
        worst = max(together, key=lambda point: _BADNESS.get(point.outcome, 0))
        at = sum(point.at for point in together) / len(together)
        count, title = len(together), worst.title
        marks.append(Mark(place(at), at, worst.outcome, count, title, worst.path))
    return marks


def _marks_of_future(
    waiting: Waiting, now: float, end: float, place: Place
) -> list[Mark]:
    slots = math.ceil((100 - place(now)) / _SLOT)
    width = (end - now) / slots
    marks: list[Mark] = []
    known = list(waiting.first)
    before = 0
    # the first one has what is due already, and stands at the present
    for slot in range(slots + 1):
        moment = end if slot == slots else now + slot * width
        until = waiting.count_until(moment)
        count, before = until - before, until
        first = known[0] if known else None
        del known[:count]
        if count == 1 and first is not None:
            at = max(now, first.at)
            marks.append(Mark(place(at), at, "waiting", 1, first.title, first.path))
        elif count:
            at = max(now, moment - width / 2)
            marks.append(Mark(place(at), at, "waiting", count, f"{count} tasks", ""))
    return marks


def _with_labels(marks: Sequence[Mark]) -> list[Mark]:
    """Return marks with labels where these do not touch one another."""
    places = [-_LABEL / 2, *(mark.x for mark in marks), 100 + _LABEL / 2]
    return [
        replace(mark, label=mark.x - left >= _LABEL and right - mark.x >= _LABEL)
        for mark, left, right in zip(marks, places, places[2:], strict=False)
    ]


def _ticks(start: float, end: float, place: Place) -> list[Tick]:
    step = next((s for s in _STEPS if (end - start) / s <= _MOST_TICKS), _STEPS[-1])
    form = "%H:%M:%S" if step < _MINUTE else "%H:%M"
    if end - start > 12 * _HOUR:
        form = "%b %d %H:%M" if step < _DAY else "%b %d"
    if step > 100 * _DAY:
        form = "%b %Y"
    ticks = []
    moment = math.ceil(start / step) * step
    while moment <= end:
        x = place(moment)
        # one at the edge would be cut off
        if 3 <= x <= 97:
            time = datetime.datetime.fromtimestamp(moment, datetime.UTC)
            ticks.append(Tick(x, time.strftime(form)))
        moment += step
    return ticks
