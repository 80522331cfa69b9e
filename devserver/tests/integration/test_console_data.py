"""The console's data of memcache, blobs, mails, search, users and services."""

import base64
import http.cookies
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gae_devserver.testing import DevServer, Response, StateApiError, wait_until
from gae_devserver.testing.requests import send
from tests.helpers.app_folder import copy_app
from tests.helpers.command import OWN_PYTHON
from tests.helpers.console_app import call, upload

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJ"
    "RU5ErkJggg=="
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server with the app tests/apps/console."""
    folder = copy_app("console", tmp_path_factory.mktemp("work"))
    with DevServer(folder, OWN_PYTHON) as server:
        yield server


@pytest.fixture
def server(running: DevServer) -> DevServer:
    """The server, which has nothing of other tests."""
    running.reset()
    return running


def get(server: DevServer, path: str, *headers: tuple[str, str]) -> Response:
    """GET a path of the State API."""
    return send(server.state_url, "GET", path, headers)


def status_of(server: DevServer, method: str, path: str, body: object = None) -> int:
    """Return the status with which the State API refuses a call."""
    with pytest.raises(StateApiError) as error:
        server.state(method, path, body)
    return error.value.status


def test_memcache(server: DevServer) -> None:
    """Each item has its value by its type, except a pickle, and leaves when it expires.

    A value that is set has the type of the old one, and expires with it.
    """
    empty = server.state("GET", "/memcache")
    assert (empty["items"], empty["statistics"]["items"]) == ([], 0)
    for key, value in {"text": "é" * 1001, "int": 1, "bool": True, "list": [1]}.items():
        call(server, "remember", key, value, seconds=60)
    item = {"namespace": "n", "key": "\udcff", "value": "x", "type": "bytes"}
    server.state("PUT", "/memcache/item", item)

    shown = {item["key"]: item for item in server.state("GET", "/memcache")["items"]}

    values = {key: (item["type"], item["value"]) for key, item in shown.items()}
    assert values == {
        "text": ("text", "é" * 1000),
        "int": ("integer", "1"),
        "bool": ("boolean", "1"),
        "list": ("pickled", None),
        "�": ("bytes", "x"),
    }
    assert shown["text"]["is_cut"]
    whole = server.state("GET", shown["text"]["url"])
    assert whole["value"] == "é" * 1001
    assert base64.b64decode(whole["content"]).decode() == whole["value"]
    server.state("PUT", shown["int"]["url"], {"value": 7})
    server.state("PUT", shown["bool"]["url"], {"value": "false", "type": "boolean"})
    assert [call(server, "recall", key) for key in ("int", "bool")] == [7, False]
    assert server.state("DELETE", shown["�"]["url"]) == {"deleted": True}
    assert server.state("GET", "/memcache?find=in")["items"][0]["key"] == "int"
    server.advance(61)
    assert server.state("GET", "/memcache")["items"] == []
    assert status_of(server, "DELETE", shown["int"]["url"]) == 404


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"value": "a"},
        {"key": "a" * 251, "value": "a"},
        {"key": "a", "value": [1]},
        {"key": "a", "value": "b" * 1_000_001},
        {"key": "a", "value": "x", "type": "integer"},
        {"key": "a", "value": "x", "type": "pickled"},
        {"key": "a", "value": "\ud800"},
        {"key": "a", "value": "x", "namespace": 1},
        {"key": "a", "value": "x", "namespace": "\ud800"},
        {"key": "\ud800", "value": "x"},
    ],
)
def test_no_item_of_memcache(server: DevServer, body: object) -> None:
    """What the SDK could not store is refused."""
    assert status_of(server, "PUT", "/memcache/item", body) == 400
    assert server.state("GET", "/memcache")["items"] == []


@pytest.mark.parametrize(
    ("path", "items", "name"),
    [
        ("/memcache", "items", "key"),
        ("/blobs", "blobs", "filename"),
        ("/search", "indexes", "name"),
        ("/search/index?name=i0", "documents", "id"),
        ("/search/index?name=i0&query=title:x", "documents", "id"),
        ("/mails?order=newest", "mails", "subject"),
    ],
)
def test_pages(server: DevServer, path: str, items: str, name: str) -> None:
    """A cursor leads to the items behind a page, each of which is shown once."""
    for number in range(3):
        call(server, "remember", f"k{number}", "value")
        call(server, "add_documents", f"i{number}", "x", 3)
        call(server, "send_mail", f"s{number}", "<p>", "a.txt")
        upload(server, b"x", f"f{number}", "text/plain")
    seen, cursor = [], None
    for _ in range(2):
        link = "&" if "?" in path else "?"
        more = f"&cursor={quote(cursor)}" if cursor else ""
        page = server.state("GET", f"{path}{link}limit=2{more}")
        seen += [item[name] for item in page[items]]
        cursor = page["cursor"]
    assert cursor is None
    assert len(seen) == len(set(seen)) == 3
    if name == "subject":
        assert seen == ["s2", "s1", "s0"]
    assert get(server, f"{path}{link}cursor=%C3%A9").status == 400


def test_large_mails(server: DevServer) -> None:
    """A page ends with the mail that reaches 1 MiB."""
    for number in range(3):
        call(server, "send_mail", f"s{number}", "x", "a.txt", 600_000)
    page = server.state("GET", "/mails")
    assert [mail["subject"] for mail in page["mails"]] == ["s0", "s1"]
    assert [mail.subject for mail in server.mails()] == ["s0", "s1", "s2"]


def test_blobs(server: DevServer) -> None:
    """Only what is an image has a preview; everything else is a file to save."""
    upload(server, PNG, "ä; a=b.png", "image/png")
    upload(server, b"<svg/>", "svg.png", "image/png")
    blobs = server.state("GET", "/blobs")["blobs"]
    for blob in blobs:
        path = f"/blobs/{quote(blob['key'], safe='')}"
        answer, preview = get(server, path), get(server, f"{path}/preview")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        disposition = answer.headers["Content-Disposition"]
        assert re.fullmatch(r"attachment; filename\*=UTF-8''[\w%.-]+", disposition)
        for one in (answer, preview):
            assert one.headers["X-Content-Type-Options"] == "nosniff"
        is_image = answer.body == PNG
        assert preview.status == (200 if is_image else 415)
        if is_image:
            assert preview.headers["Content-Type"] == "image/png"
            assert preview.body == PNG
        assert abs(blob["created"] - server.state("GET", "/clock")["now"]) < 60
        assert server.state("DELETE", path) == {"deleted": True}
        assert status_of(server, "DELETE", path) == 404
    assert server.blobs() == []


def test_mail_files(server: DevServer) -> None:
    """Attachments and the whole mail are files to save; mails can be deleted."""
    call(server, "send_mail", "Subject", "<p>Hello", "a.html")
    (mail,) = server.mails()
    path = f"/mails/{server.state('GET', '/mails')['mails'][0]['id']}"
    file, whole = get(server, f"{path}/attachments/0"), get(server, f"{path}/raw")
    assert file.body == mail.attachments[0].content
    assert b"Subject: Subject" in whole.body
    for answer in (file, whole):
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert not answer.headers["Content-Type"].startswith("text/")
    assert status_of(server, "GET", f"{path}/attachments/1") == 404
    assert server.state("DELETE", "/mails") == {"deleted": 1}
    assert server.mails() == []


def test_search(server: DevServer) -> None:
    """Documents are found by the app's queries, and deleted alone or with the index."""
    assert server.state("GET", "/search")["indexes"] == []
    call(server, "add_documents", "a/b?c", "apple pie", 3)
    (index,) = server.state("GET", "/search")["indexes"]
    assert (index["name"], index["documents"]) == ("a/b?c", 3)
    found = server.state("GET", f"{index['url']}&query=title:pie+price>1")
    (document,) = found["documents"]
    fields = {field["name"]: field["value"] for field in document["fields"]}
    assert fields == {"title": "apple pie", "price": "2", "day": "2026-01-02 00:00:00"}
    answer = get(server, f"{index['url']}&query=title:(")
    assert (answer.status, b"title:(" in answer.body) == (400, True)
    assert server.state("DELETE", document["url"]) == {"deleted": True}
    assert status_of(server, "GET", document["url"]) == 404
    assert server.state("DELETE", index["url"]) == {"deleted": 2}
    assert server.state("GET", "/search")["indexes"] == []


def test_users(server: DevServer) -> None:
    """The cookie of the State API is one for the app, until everyone is signed out."""
    json_type = ("Content-Type", "application/json")
    headers = [json_type, ("X-Devserver-Token", server.token)]
    body = b'{"email": "ann@example.com", "admin": true}'
    url = server.state_url
    refused = send(url, "POST", "/users/sign_in", [json_type], body)
    answer = send(url, "POST", "/users/sign_in", headers, body)
    assert (refused.status, answer.status) == (403, 200)
    assert "Set-Cookie" not in refused.headers
    (cookie,) = http.cookies.SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    signed_in = {"Cookie": f"{cookie.key}={cookie.value}"}
    assert server.get("/call/who", signed_in).text == '["ann@example.com", true]'
    shown = server.state("GET", "/users")
    assert (shown["user"], shown["recent"][0]["email"]) == (None, "ann@example.com")
    own = get(server, "/users", *signed_in.items()).text
    assert '"user": {"email": "ann@example.com", "admin": true' in own
    server.state("POST", "/users/sign_out_all")
    assert server.get("/call/who", signed_in).text == "null"
    bodies: list[object] = [{"email": "ann"}, {"email": "a@b.c", "admin": "yes"}, []]
    for wrong in bodies:
        assert status_of(server, "POST", "/users/sign_in", wrong) == 400


def test_a_service_restarts(server: DevServer) -> None:
    """It gets a new process, and the page has the versions for a report."""

    def shown() -> Any:
        return server.state("GET", "/services")["services"][0]

    before = shown()
    assert before["memory"] > 2**20
    assert server.state("POST", "/services/default/restart") == {"state": "starting"}
    wait_until(lambda: shown()["state"] == "ready", "the service is ready")
    assert shown()["pid"] != before["pid"]
    answer = server.state("GET", "/services")
    assert answer["versions"]["gae-devserver"]
    assert answer["server"]["app"] == server.url
    assert status_of(server, "POST", "/services/none/restart") == 404


def test_a_failure_is_shown_in_short(tmp_path: Path) -> None:
    """The first line of a failure is its summary; the page has the last lines."""
    folder = copy_app("console", tmp_path)
    with DevServer(folder, OWN_PYTHON) as server:
        lines = "print('\\n'.join(f'line {n}' for n in range(99)), flush=True)"
        (folder / "main.py").write_text(f"{lines}\nraise ValueError('<b>')\n")
        server.state("POST", "/services/default/restart")

        def failed() -> bool:
            return bool(server.state("GET", "/services")["services"][0]["failure"])

        wait_until(failed, "the service has failed")
        (service,) = server.state("GET", "/services")["services"]
        assert service["failure"].startswith(f"{service['summary']}\n")
        page = get(server, "/services", ("Accept", "text/html")).text
    assert "ValueError: &lt;b&gt;" in page
    assert "line 0" not in page


@pytest.mark.parametrize("page", ["memcache", "blobs", "mails", "search", "users"])
def test_looking_changes_nothing(server: DevServer, page: str) -> None:
    """An empty page is one, in HTML too, and no page takes part in the app's calls."""
    answer = get(server, f"/{page}", ("Accept", "text/html"))
    assert (answer.status, answer.content_type) == (200, "text/html")
    first = server.state("GET", "/memcache")["statistics"]
    call(server, "remember", "a", 1)
    for _ in range(3):
        get(server, "/memcache")
        get(server, "/memcache/item?key=a")
    after = server.state("GET", "/memcache")["statistics"]
    assert (first["hits"], after["hits"], after["misses"]) == (0, 0, 0)
