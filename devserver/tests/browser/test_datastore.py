"""The pages of the datastore: kinds, entities, one entity, indexes."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.conftest import Console, check_axe

SCRIPT = "</textarea><script>alert(1)</script>"


def put(console: Console, *entities: tuple[list[Any], dict[str, Any]]) -> None:
    """Store entities, each a pair of kind and id, and its texts and numbers."""
    types = {int: "integer", str: "text"}
    file = {
        "format": "gae-devserver entities",
        "version": 1,
        "entities": [
            {
                "key": {"path": [pair]},
                "properties": {
                    name: {"type": types[type(value)], "value": value}
                    for name, value in properties.items()
                },
            }
            for pair, properties in entities
        ],
    }
    console.server.state("POST", "/datastore/import", file)


def put_many(console: Console, count: int) -> None:
    """Store items with numbers."""
    put(console, *((["Item", n + 1], {"number": n, "text": "a"}) for n in range(count)))


def properties(console: Console, kind: str = "Item") -> list[Any]:
    """Return the properties of the entities of a kind."""
    return [one.properties for one in console.server.entities(kind)]


def open_entity(console: Console, kind: str = "Item") -> Page:
    """Open the first entity of a kind."""
    shown = console.server.state("GET", f"/entities?kind={kind}")["entities"]
    return console.open(f"/entities/{shown[0]['urlsafe']}")


def accept(dialog: Dialog) -> None:
    """Answer a question with yes."""
    dialog.accept()


def wait_until_idle(page: Page) -> None:
    """Wait until no form is being sent: the page ignores a second click."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def rows(page: Page, region: str = "Entities") -> Any:
    """Return the rows of a table without its head."""
    return page.get_by_role("region", name=region).locator("tbody tr")


def test_kinds_are_live(console: Console) -> None:
    """Kinds and counts appear by themselves, and lead to the entities."""
    page = console.open("/datastore")
    expect(page.get_by_text("The datastore is empty")).to_be_visible()
    check_axe(page)
    put_many(console, 3)
    row = rows(page, "Kinds of the default namespace")
    expect(row).to_contain_text("3")
    check_axe(page)
    page.get_by_role("link", name="Item", exact=True).press("Enter")
    expect(rows(page)).to_have_count(3)
    put_many(console, 4)
    expect(rows(page)).to_have_count(4)
    check_axe(page)


def test_sort_filter_and_pages(console: Console) -> None:
    """Headers sort, the form filters, and both stay on the next page."""
    put_many(console, 230)
    page = console.open("/entities?kind=Item")
    expect(rows(page)).to_have_count(100)
    page.get_by_label("Property").fill("number")
    page.get_by_label("Comparison").select_option(">=")
    page.get_by_label("Type").select_option("number")
    page.get_by_label("Value", exact=True).fill("100")
    page.get_by_role("button", name="Filter").press("Enter")
    expect(page.get_by_text("130 of 230 entities")).to_be_visible()
    head = page.get_by_role("columnheader", name="number").get_by_role("link")
    head.click()
    expect(rows(page).first).to_contain_text("100")
    head.click()
    expect(rows(page).first).to_contain_text("229")
    check_axe(page)
    page.get_by_role("link", name="Next page").click()
    expect(rows(page)).to_have_count(30)
    expect(rows(page).last).to_contain_text("100")
    page.get_by_role("link", name="remove").click()
    page.get_by_label("or the ID, name or key").fill("7")
    page.get_by_role("button", name="Filter").click()
    expect(rows(page)).to_have_count(1)
    # questions of people need no index
    assert console.server.missing_indexes() == []


def test_edit(console: Console) -> None:
    """Values, types and properties change; the rest stays."""
    put(console, (["Item", 1], {"number": 5, "text": f"\n{SCRIPT}", "old": "x"}))
    page = open_entity(console)
    page.get_by_role("group", name="number").get_by_label("Value").fill("6")
    page.get_by_role("group", name="old").get_by_label("remove").check()
    page.get_by_text("Add a property").press("Enter")
    new = page.get_by_role("group", name="New property 1")
    new.get_by_label("Name").fill("tags")
    new.get_by_label("Type").select_option("list")
    new.get_by_label("Value").fill('["a", "b"]')
    check_axe(page)
    page.get_by_role("button", name="Save").press("Enter")
    expect(page.get_by_text("The entity is saved.")).to_be_visible()
    (saved,) = properties(console)
    assert saved == {"number": 6, "text": f"\n{SCRIPT}", "tags": ["a", "b"]}
    expect(page.get_by_role("group", name="tags")).to_be_visible()
    # the form is the new one also while a field has the focus
    for name in ("one", "two"):
        new.get_by_label("Name").fill(name)
        new.get_by_label("Name").press("Enter")
        expect(page.get_by_role("group", name=name, exact=True)).to_be_visible()
    (saved,) = properties(console)
    page.get_by_role("group", name="number").get_by_label("Value").fill("six")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("'six'")
    assert properties(console) == [saved]


def test_conflict(console: Console) -> None:
    """What the app wrote meanwhile is not lost, and neither is what was typed."""
    put(console, (["Item", 1], {"number": 1, "text": "a"}))
    page = open_entity(console)
    text = page.get_by_role("group", name="text").get_by_label("Value")
    text.fill("typed")
    put(console, (["Item", 1], {"more": 1, "number": 2, "text": "b"}))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("has changed")
    assert properties(console) == [{"more": 1, "number": 2, "text": "b"}]
    number = page.get_by_role("group", name="number").get_by_label("Value")
    expect(number).to_have_value("2")
    expect(text).to_have_value("typed")
    wait_until_idle(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The entity is saved.")).to_be_visible()
    assert properties(console) == [{"more": 1, "number": 2, "text": "typed"}]


def test_deleted_meanwhile(console: Console) -> None:
    """What was typed stays on the page."""
    put_many(console, 1)
    page = open_entity(console)
    text = page.get_by_role("group", name="text").get_by_label("Value")
    text.fill("typed")
    console.server.state("DELETE", "/entities?kind=Item")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("was deleted")
    wait_until_idle(page)
    expect(text).to_have_value("typed")
    assert properties(console) == []


def test_new_and_delete(console: Console) -> None:
    """A new entity begins with the properties of others; one click deletes it."""
    put_many(console, 1)
    page = console.open("/entities?kind=Item")
    page.get_by_role("link", name="New entity").click()
    page.get_by_label("ID or name").fill("mine")
    page.get_by_role("group", name="text").get_by_label("Value").fill("new")
    check_axe(page)
    page.get_by_role("button", name="Create").press("Enter")
    expect(page.get_by_role("heading", name="Item mine")).to_be_visible()
    assert properties(console)[1] == {"number": 0, "text": "new"}
    page.once("dialog", accept)
    page.get_by_role("button", name="Delete this entity").press("Enter")
    expect(rows(page)).to_have_count(1)


def test_delete_several(console: Console) -> None:
    """The selected entities are deleted, and then all, after a question each."""
    put_many(console, 5)
    page = console.open("/entities?kind=Item")
    for number in ("2", "4"):
        page.get_by_label(f"Select {number}").check()
    page.on("dialog", accept)
    page.get_by_role("button", name="Delete selected").click()
    expect(page.get_by_text("Entities deleted: 2")).to_be_visible()
    assert [one["number"] for one in properties(console)] == [0, 2, 4]
    page.get_by_role("button", name="Delete all").click()
    expect(page.get_by_text("There are no entities")).to_be_visible()


def test_export_and_import(console: Console, tmp_path: Path) -> None:
    """A downloaded file brings the entities back; a wrong one changes nothing."""
    put_many(console, 3)
    before = properties(console)
    page = console.open("/datastore")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export Item").click()
    file = tmp_path / "items.json"
    download.value.save_as(file)
    page.once("dialog", accept)
    page.get_by_role("button", name="Delete all Item").click()
    expect(page.get_by_text("The datastore is empty")).to_be_visible()
    wrong = tmp_path / "wrong.json"
    wrong.write_text(file.read_text().replace('"integer"', '"whole"', 1))
    for path, text in ((wrong, "line 2"), (file, "Entities imported: 3")):
        page.get_by_label("File of an export").set_input_files(path)
        page.get_by_role("button", name="Import").click()
        expect(page.get_by_role("status")).to_contain_text(text)
        wait_until_idle(page)
    assert properties(console) == before


def test_scripts_are_text(console: Console) -> None:
    """Kinds, names and values that are script tags are shown as they are."""
    dialogs: list[str] = []
    console.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    put(console, ([SCRIPT, SCRIPT], {SCRIPT: SCRIPT, "control": "\x00\x1b\u202e"}))
    page = console.open("/datastore")
    page.get_by_role("link", name=SCRIPT, exact=True).click()
    expect(rows(page)).to_contain_text(SCRIPT)
    check_axe(page)
    page.get_by_role("link", name=SCRIPT).last.click()
    value = page.get_by_role("group", name=SCRIPT).get_by_label("Value")
    expect(value).to_have_value(SCRIPT)
    check_axe(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The entity is saved.")).to_be_visible()
    assert dialogs == []


def test_missing_indexes(console: Console) -> None:
    """An index that a query of the app needs appears with its lines for index.yaml."""
    page = console.open("/indexes")
    expect(page.get_by_text("No query so far")).to_be_visible()
    console.call("find", "Item", "text", "number")
    expect(rows(page, "Missing indexes")).to_contain_text("text, number")
    expect(page.get_by_label("Lines for index.yaml")).to_contain_text("- kind: Item")
    check_axe(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_pages(console: Console, scheme: Any) -> None:
    """Each page fits 360 pixels, and axe finds no fault in either scheme."""
    put_many(console, 3)
    put(console, (["Item", "n" * 400], {"text": json.dumps(["long " * 200])}))
    page = console.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 800})
    paths = ("/datastore", "/entities?kind=Item", "/entities/new?kind=Item", "/indexes")
    for path in (*paths, None):
        if path is None:
            open_entity(console)
        else:
            console.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        check_axe(page)
