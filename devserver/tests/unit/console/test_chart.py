"""The layout of the timeline."""

import bisect
from collections.abc import Sequence

import pytest

from gae_devserver.console.tasks.chart import Chart, Point, Waiting, lay_out

NOW = 1_800_000_000.0


def waiting(etas: Sequence[float], queue: str = "default") -> Waiting:
    """Return a queue with tasks that are due in so many seconds."""
    moments = sorted(NOW + eta for eta in etas)
    return Waiting(
        queue,
        False,
        len(moments),
        lambda moment: bisect.bisect_right(moments, moment),
        [Point(at, "waiting", "", f"/{at - NOW:g}") for at in moments[:100]],
    )


def ran(*ages: float, outcome: str = "done") -> list[tuple[str, Point]]:
    """Return executions of the default queue."""
    return [("default", Point(NOW - age, outcome, "", "/ran")) for age in ages]


def count(chart: Chart) -> int:
    """Return how many points are drawn, or counted at the right edge."""
    return sum(lane.later + sum(m.count for m in lane.marks) for lane in chart.lanes)


def test_times_are_places() -> None:
    """Tasks in 1 and 2 minutes stand apart, as the one that ran a minute ago does."""
    chart = lay_out(NOW, [waiting([60, 120])], ran(60))
    (lane,) = chart.lanes
    places = [mark.x - chart.now for mark in lane.marks]
    minute = 60 * 100 / (chart.end - chart.start)
    assert places == pytest.approx([-minute, minute, 2 * minute])
    assert minute > 10
    assert all(mark.label and mark.count == 1 for mark in lane.marks)
    assert 3 <= len(chart.ticks) <= 8


@pytest.mark.parametrize(
    ("etas", "later"),
    [
        ([], 0),
        ([0], 0),
        ([-5, 0.001], 0),
        ([10, 20, 30, 30 * 86400], 1),
        ([3650 * 86400.0] * 3, 0),
        ([number * 0.36 for number in range(10_000)], 0),
        ([60.0] * 10_000, 0),
    ],
)
def test_every_task_is_drawn_or_counted(etas: Sequence[float], later: int) -> None:
    """The window holds most tasks, and marks that would touch are one."""
    chart = lay_out(NOW, [waiting(etas)], [])
    assert count(chart) == len(etas)
    assert sum(lane.later for lane in chart.lanes) == later
    for lane in chart.lanes:
        assert len(lane.marks) <= 30
        assert all(chart.now <= mark.x <= 100 for mark in lane.marks)


def test_executions_at_one_place() -> None:
    """They are one mark, which shows the worst outcome."""
    attempts = [*ran(30), *ran(30.01, outcome="dropped"), *ran(30.02, outcome="failed")]
    (lane,) = lay_out(NOW, [waiting([60])], attempts).lanes
    mark = lane.marks[0]
    assert (mark.count, mark.outcome) == (3, "dropped")


def test_many_queues() -> None:
    """Those with tasks come first, and only some fit."""
    queues = [waiting([], f"idle{n}") for n in range(20)]
    queues += [waiting([60], f"busy{n}") for n in range(20)]
    chart = lay_out(NOW, queues, [("idle3", ran(1)[0][1])], lanes=5)
    assert [lane.queue for lane in chart.lanes] == [f"busy{n}" for n in range(5)]
