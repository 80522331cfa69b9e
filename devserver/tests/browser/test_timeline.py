"""The first page: tasks on the server's clock."""

import datetime
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console, check_axe


def rows(page: Page, table: str) -> list[str]:
    """Return the texts of a table's rows."""
    return page.get_by_role("region", name=table).locator("tbody tr").all_inner_texts()


def test_nothing_has_happened(console: Console) -> None:
    """The page says what to do; an advance runs nothing."""
    page = console.open()
    expect(page.get_by_text("No task waits, and none has run.")).to_be_visible()
    page.get_by_role("button", name="Next task").click()
    expect(page.get_by_role("status")).to_contain_text("0")
    check_axe(page)


def test_tasks_in_0_60_and_120_seconds(console: Console) -> None:
    """One has run, two wait; a press of a key runs each of them at its time."""
    page = console.open()
    for name, countdown in (("first", 0), ("second", 60), ("third", 120)):
        console.call("defer", "work", _name=name, _countdown=countdown)
    marks = page.locator(".timeline .mark[href]")
    expect(marks).to_have_count(3)
    expect(page.locator(".timeline .done[href]")).to_have_count(1)
    second, third = rows(page, "Waiting")
    assert "main.work" in second
    assert "second" in second
    assert "third" in third
    check_axe(page)
    page.get_by_role("button", name="Next task").focus()
    for ran in (2, 3):
        page.keyboard.press("Enter")
        expect(page.locator(".timeline .done[href]")).to_have_count(ran)
        expect(page.get_by_text("ran 1 task")).to_be_visible()
    boxes = [mark.bounding_box() for mark in marks.all()]
    places = [box["x"] for box in boxes if box is not None]
    assert places[2] - places[0] > 200
    expect(page.get_by_text("No task waits.")).to_be_visible()
    assert len(rows(page, "Ran")) == 3


@pytest.mark.parametrize(("button", "runs"), [("+1 min", 1), ("+1 h", 2)])
def test_advance(console: Console, button: str, runs: int) -> None:
    """What is due by then runs."""
    for countdown in (50, 3000, 4000):
        console.call("defer", "work", _countdown=countdown)
    page = console.open()
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("status")).to_contain_text(str(runs))
    expect(page.get_by_text("ahead of real time")).to_be_visible()


def test_advance_to_a_time(console: Console) -> None:
    """The time is in UTC; one in the past is refused, and the field keeps it."""
    console.call("defer", "work", _countdown=3000)
    page = console.open()
    field = page.get_by_label("To a time")
    button = page.get_by_role("button", name="Advance", exact=True)
    field.fill("2020-01-01T01:02:03")
    button.click()
    expect(page.get_by_role("status")).to_contain_text("2020-01-01T01:02:03")
    expect(field).to_have_value("2020-01-01T01:02:03")
    goal = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    field.fill(f"{goal:%Y-%m-%dT%H:%M:%S}")
    button.click()
    expect(page.get_by_text("ran 1 task")).to_be_visible()
    assert console.server.state("GET", "/clock")["now"] >= int(goal.timestamp())


def test_tasks_that_fail(console: Console) -> None:
    """The page names them after an advance, and shows each outcome."""
    console.call("defer", "explode", _name="bad", _countdown=60)
    page = console.open()
    page.get_by_role("button", name="Next task").click()
    expect(
        page.locator("#last-advance").get_by_role("link", name="bad")
    ).to_be_visible()
    expect(page.locator(".timeline .failed[href]").first).to_be_attached()
    assert "failed" in rows(page, "Ran")[0]
    check_axe(page)


def test_run_now(console: Console) -> None:
    """A task runs before its time."""
    console.call("defer", "work", _name="early", _countdown=600)
    page = console.open()
    page.get_by_role("button", name="Run now early").click()
    expect(page.get_by_text("No task waits.")).to_be_visible()
    assert "early" in rows(page, "Ran")[0]


def test_10_000_tasks(console: Console) -> None:
    """The page has the first ones and counts the others, without a stall."""
    console.server.pause("default")
    console.call("defer_many", 10_000, 60, 1)
    page = console.open()
    expect(page.get_by_text("10,000 waiting")).to_be_visible()
    expect(page.get_by_text("And 9,900 more")).to_be_visible()
    assert len(rows(page, "Waiting")) == 100
    began = time.perf_counter()
    for _ in range(10):
        page.request.get(page.url, headers={"Accept": "text/html"})
    assert time.perf_counter() - began < 5
