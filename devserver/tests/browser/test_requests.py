"""The pages of requests: the list, and the waterfall of one request."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Console, check_axe

SCRIPT = "<script>alert(1)</script>"


def test_list_is_live(console: Console) -> None:
    """A request appears by itself; a filter in the form selects requests."""
    page = console.open("/requests")
    expect(page.get_by_text("No request has arrived")).to_be_visible()
    console.call("put", "a")
    console.server.get(f"/missing?{SCRIPT}")
    rows = page.get_by_role("region", name="Requests").get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text(f"GET /missing?{SCRIPT}")
    expect(rows.nth(1)).to_contain_text("404")
    check_axe(page)
    page.get_by_label("Path contains").fill("/CALL")
    page.get_by_role("button", name="Filter").press("Enter")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("/call/put")
    page.get_by_role("link", name="Show all").click()
    page.get_by_label("Status").select_option("4xx")
    page.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("404")


def test_waterfall(console: Console) -> None:
    """A request shows its API calls as bars inside the time scale, and in a table."""
    console.call("read_one_by_one", SCRIPT, 12)
    page = console.open("/requests")
    page.get_by_role("link", name="read_one_by_one").click()
    waterfall = page.get_by_role("img", name="API calls")
    bars = waterfall.locator("rect")
    expect(bars).to_have_count(12)
    outer = waterfall.bounding_box()
    assert outer is not None
    for bar in bars.all():
        box = bar.bounding_box()
        assert box is not None
        assert outer["x"] - 2 <= box["x"]
        assert box["x"] + box["width"] <= outer["x"] + outer["width"] + 2
    calls = page.get_by_role("region", name="Each call").get_by_role("row")
    expect(calls).to_have_count(13)
    expect(calls.filter(has_text=f"Item '{SCRIPT}'")).to_have_count(12)
    expect(page.get_by_text(re.compile("12 calls of datastore_v3.Get"))).to_be_visible()
    check_axe(page)


def test_send_again(console: Console) -> None:
    """A GET request is sent again in a new tab of the browser."""
    console.server.get("/call/work?args=[1]")
    page = console.open("/requests")
    page.get_by_role("link", name="/call/work").click()
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Send again").click()
    expect(popup.value).to_have_url(re.compile(r"//localhost:\d+/call/work\?args"))


def test_failed_task(console: Console) -> None:
    """An attempt shows its task, its exception, and its log lines."""
    name = console.call("defer", "explode", SCRIPT)
    console.server.advance(0)
    failure = console.server.last_failure()
    assert failure is not None
    assert (failure.type, failure.message) == ("ValueError", SCRIPT)
    assert (failure.file, failure.task) == ("main.py", name)
    page = console.open("/requests/last_failure")
    expect(page.get_by_role("link", name=name)).to_be_visible()
    expect(page.get_by_role("region", name="Traceback", exact=True)).to_contain_text(
        "main.py"
    )
    expect(page.get_by_text("next attempt in")).to_be_visible()
    check_axe(page)


def test_tasks_added(console: Console) -> None:
    """A request leads to the task that it has added, and an attempt back to it."""
    name = console.call("defer_in_transaction", "work", SCRIPT)
    console.server.advance(0)
    page = console.open("/requests")
    page.get_by_role("link", name="defer_in_transaction").click()
    added = page.get_by_role("region", name="Tasks added")
    added.get_by_role("link", name=name).click()
    page.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Attempt 1 of main.work")
    page.get_by_role("link", name="GET /call/defer_in_transaction").click()
    expect(added).to_contain_text("main.work")
    check_axe(page)


def test_page_as_json(console: Console) -> None:
    """A link in each page leads to the same data, filtered in the same way."""
    console.server.get("/missing")
    console.call("work")
    page = console.open("/requests?status=4xx")
    with page.expect_response("**/requests?status=4xx&format=json") as response:
        page.get_by_role("link", name="This page as JSON").click()
    (item,) = response.value.json()["requests"]
    assert item["target"] == "/missing"
