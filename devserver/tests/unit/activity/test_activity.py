"""What is kept of requests, and when it is forgotten."""

import time

import pytest

from gae_devserver.activity.activity import Activity, Limits
from gae_devserver.activity.records import LogLine, Record

FEW = Limits(
    records=3,
    calls=4,
    tasks=2,
    call_bytes=100,
    lines=5,
    record_bytes=2000,
    total_bytes=4000,
)


def begin(activity: Activity, target: str = "/") -> Record:
    """Begin a request that has a ticket, which is its number."""
    record = activity.begin("request", "GET", target)
    activity.link(str(record.number), record)
    return record


def add_calls(
    activity: Activity, record: Record, count: int, data: bytes = b"x"
) -> None:
    """Add API calls that begin and end now."""
    for _ in range(count):
        ticket = str(record.number)
        activity.add_call(ticket, "memcache.Get", data, time.perf_counter(), "")


def test_only_the_last_requests_are_kept() -> None:
    """An older one is no longer found, and what arrives for it later is ignored."""
    activity = Activity(limits=FEW)
    records = [begin(activity) for _ in range(5)]
    assert list(activity.requests) == records[2:]
    assert activity.find(1) is None
    add_calls(activity, records[0], 1)
    activity.add_line(records[0], LogLine(0.0, "", "", "late"))
    assert activity.find(5) is records[4]
    assert records[0].calls == []


@pytest.mark.parametrize(("size", "kept"), [(100, 100), (101, 0)])
def test_calls_of_a_request(size: int, kept: int) -> None:
    """Further ones are only counted; the request of a large one is not kept."""
    activity = Activity(limits=FEW)
    record = begin(activity)
    add_calls(activity, record, 6, bytes(size))
    assert [len(call.request) for call in record.calls] == [kept] * 4
    assert record.omitted_calls == 2


def test_tasks_that_a_request_has_added() -> None:
    """They lead back to it while it is kept; without a request, nothing is noted."""
    activity = Activity(limits=FEW)
    record = begin(activity)
    activity.add_task("default", "alone", "/work")
    activity.begin_call(str(record.number))
    for name in ("a", "b", "c"):
        activity.add_task("default", name, "/work")
    assert ([one.name for one in record.tasks], record.omitted_tasks) == (["a", "b"], 1)
    assert activity.adder("default", "a") is record
    assert activity.adder("default", "alone") is None
    for _ in range(3):
        begin(activity)
    assert activity.adder("default", "a") is None


@pytest.mark.parametrize(
    ("logger", "text"),
    [("app", "x" * 2001), ("x" * 2001, "a"), ("", "\U0001f600" * 501)],
)
def test_lines_of_a_request(logger: str, text: str) -> None:
    """Too many lines, or those that take too much memory, are only counted."""
    activity = Activity(limits=FEW)
    record, other = begin(activity), begin(activity)
    for _ in range(7):
        activity.add_line(record, LogLine(0.0, "INFO", "app", "short"))
    assert (len(record.lines), record.omitted_lines) == (5, 2)
    activity.add_line(other, LogLine(0.0, "INFO", logger, text))
    assert (other.lines, other.omitted_lines) == ([], 1)


def test_everything_together_is_bounded() -> None:
    """Large requests push out older ones; small ones stay."""
    activity = Activity(limits=FEW)
    for _ in range(3):
        record = begin(activity)
        activity.add_line(record, LogLine(0.0, "", "", "x" * 1700))
    assert [record.number for record in activity.requests] == [2, 3]
    small = begin(activity)
    assert list(activity.requests)[-1] is small


def test_a_thousand_requests_with_many_calls() -> None:
    """By default, all that is kept takes some ten megabytes at most."""
    activity = Activity()
    for _ in range(1000):
        record = begin(activity)
        add_calls(activity, record, 300, bytes(2048))
        for _ in range(50):
            activity.add_line(record, LogLine(0.0, "INFO", "app", "x" * 10_000))
    kept = sum(
        sum(len(call.request) for call in record.calls)
        + sum(len(line.text) for line in record.lines)
        for record in activity.requests
    )
    assert 2**22 < kept < 2**25
