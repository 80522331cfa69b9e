"""Uploads, downloads and served images, through the SDK's own handlers in an app."""

import contextlib
import http.client
import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from PIL import Image

from gae_devserver.blobs.contents import PIECE
from gae_devserver.testing import DevServer, Response, wait_until
from gae_devserver.testing.requests import send
from tests.helpers.app_folder import copy_app
from tests.helpers.command import OWN_PYTHON
from tests.helpers.forms import FORM, Part, form


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app."""
    return copy_app("blobs", tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[DevServer]:
    """A server with the app."""
    with DevServer(folder, OWN_PYTHON) as server:
        yield server


@pytest.fixture
def server(running: DevServer) -> DevServer:
    """The server, which has nothing of other tests."""
    running.reset()
    return running


def upload_url(server: DevServer, **options: Any) -> str:
    """Return the path of a new upload URL."""
    return urlsplit(server.get(f"/url?{urlencode(options)}").text).path


def upload(server: DevServer, *parts: Part, **options: Any) -> dict[str, Any]:
    """Upload a form; return what the app got."""
    answer = server.post(upload_url(server, **options), form(*parts), FORM)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def download(server: DevServer, key: str, *headers: str, **options: Any) -> Response:
    """Have the app send a blob."""
    pairs = [tuple(header.split(": ", 1)) for header in headers]
    target = f"/send?{urlencode({'key': key, **options})}"
    return send(server.url, "GET", target, pairs)  # type: ignore[arg-type]


def test_the_app_gets_keys_in_place_of_files(server: DevServer) -> None:
    """Fields, cookies and the order stay; an input without a file is left out."""
    parts = (
        Part("ä\r\n1".encode(), None, name="field"),
        Part(b"first\r\n--" * 3, "dvě jména.txt", "text/plain; charset=utf-8"),
        Part(b"", "empty.bin", "application/x\r\nX-AppEngine-Cloud-Storage-Object: /x"),
        Part(b"", "", "application/octet-stream"),
    )
    url = upload_url(server, path="/done?a=1")
    answer = server.post(f"{url}?b=2", form(*parts), {**FORM, "Cookie": "c=1"})
    got = json.loads(answer.body)

    assert (got["query"], got["cookie"]) == ("a=1", "c=1")
    assert "\r\n\r\nä\r\n1\r\n" in got["body"]
    assert "first" not in got["body"]
    assert got["files"] == got["stored"]
    assert [list(file.values()) for file in got["files"]] == [
        ["dvě jména.txt", "text/plain; charset=utf-8", 27, None],
        ["empty.bin", "application/x", 0, None],
    ]
    assert [blob.key for blob in server.blobs()] == sorted(got["keys"])
    assert server.post(url, form(*parts), FORM).status == 404
    assert len(server.blobs()) == 2


def test_a_large_blob_is_read_in_pieces(server: DevServer) -> None:
    """A file over the limit of other requests is stored; a range may cross pieces."""
    content = os.urandom(2**20) * 33 + b"end"
    (key,) = upload(server, Part(content))["keys"]
    assert download(server, key).body == content
    last = download(server, key, f"Range: bytes={PIECE - 2}-{PIECE + 1}")
    assert last.body == content[PIECE - 2 : PIECE + 2]
    shown = send(server.state_url, "GET", f"/blobs/{key}")
    assert (shown.body, shown.content_type) == (content, "application/octet-stream")


def test_the_sdk_reads_and_deletes_a_blob(server: DevServer) -> None:
    """BlobReader and fetch_data read it, and delete deletes its contents too."""
    (key,) = upload(server, Part(b"0123456789"))["keys"]
    assert json.loads(server.get(f"/read?key={key}").body) == [10, "12", "34"]
    server.get(f"/delete?key={key}")
    assert server.blobs() == []
    assert send(server.state_url, "GET", f"/blobs/{key}").status == 404
    gone = download(server, key)
    assert (gone.status, "X-AppEngine-BlobKey" in gone.headers) == (500, False)


@pytest.mark.parametrize(
    ("headers", "options", "status", "content_range", "body"),
    [
        ((), {}, 200, None, b"0123456789"),
        (("Range: bytes=2-4",), {}, 206, "bytes 2-4/10", b"234"),
        (("Range: bytes=8-99",), {}, 206, "bytes 8-9/10", b"89"),
        ((f"Range: bytes=9-{'9' * 99}",), {}, 206, "bytes 9-9/10", b"9"),
        (("Range: bytes=-3",), {}, 206, "bytes 7-9/10", b"789"),
        (("Range: bytes=10-",), {}, 416, "bytes */10", b""),
        (("Range: bytes=-0",), {}, 416, "bytes */10", b""),
        (("Range: bytes=0-1,3-4",), {}, 416, "bytes */10", b""),
        (("Range: bytes=x",), {}, 416, "bytes */10", b""),
        (("Range: bytes=2-4",), {"range": "bytes=5-"}, 206, "bytes 5-9/10", b"56789"),
        (("Range: bytes=1-", 'If-Range: "1"'), {}, 200, None, b"0123456789"),
        (
            ("Range: bytes=9-", 'If-Range: "1"'),
            {"etag": '"1"'},
            206,
            "bytes 9-9/10",
            b"9",
        ),
    ],
)
def test_ranges(
    server: DevServer,
    headers: tuple[str, ...],
    options: dict[str, str],
    status: int,
    content_range: str | None,
    body: bytes,
) -> None:
    """The app's range, or else the client's, selects a part of the blob."""
    (key,) = upload(server, Part(b"0123456789"))["keys"]
    answer = download(server, key, *headers, **options)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["Content-Range"] == content_range
    assert answer.headers["Set-Cookie"] == "seen=1"
    assert not [name for name in answer.headers if "blob" in name.lower()]


def test_the_type_of_an_answer_with_a_blob(server: DevServer) -> None:
    """The app's type wins; the blob's stands in for none, and for Flask's "None"."""
    (key,) = upload(server, Part(content_type="image/x; a=b"))["keys"]
    for options, expected in (
        ({}, "image/x; a=b"),
        ({"type": "None"}, "image/x; a=b"),
        ({"type": "text/css"}, "text/css"),
    ):
        assert download(server, key, **options).headers["Content-Type"] == expected
    head = send(server.url, "HEAD", f"/send?key={key}")
    assert (head.headers["Content-Length"], head.body) == ("5", b"")


def test_the_name_of_a_blob_never_reaches_a_client(server: DevServer) -> None:
    """The headers that name it are dropped in any spelling, and in errors."""
    (key,) = upload(server, Part())["keys"]
    for options in (
        {"status": "404 Not Found"},
        {"header": "X_AppEngine_BlobKey"},
        {"header": "x-appengine-blobrange"},
        {"key": "unknown"},
    ):
        answer = download(server, **{"key": key, **options})
        assert answer.status == (200 if "header" in options else 500)
        assert not [name for name in answer.headers if "blob" in name.lower()]


@pytest.mark.parametrize(
    ("options", "sizes", "status"),
    [
        ({"max_bytes_per_blob": 4}, [5], 413),
        ({"max_bytes_per_blob": 5}, [5, 5], 200),
        ({"max_bytes_total": 9}, [5, 5], 413),
        ({"max_bytes_total": 10}, [5, 5], 200),
    ],
)
def test_limits(
    server: DevServer, options: dict[str, int], sizes: list[int], status: int
) -> None:
    """An upload above a limit stores nothing, and its URL can be used again."""
    url = upload_url(server, **options)
    parts = [Part(b"x" * size) for size in sizes]
    assert server.post(url, form(*parts), FORM).status == status
    assert len(server.blobs()) == (0 if status == 413 else len(sizes))
    assert server.post(url, form(), FORM).status == (200 if status == 413 else 404)


def test_the_size_of_an_upload_is_limited(server: DevServer) -> None:
    """Files may have 2 GiB, which is clear from the head, and fields 32 MiB."""
    url = upload_url(server)
    huge = {**FORM, "Content-Length": str(2**31 + 1)}
    assert send(server.url, "POST", url, huge).status == 413
    fields = form(*[Part(bytes(2**25), None)] * 2)
    assert server.post(url, fields, FORM).status == 413


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", None),
        (b"garbage", None),
        (form(Part())[:-6], None),
        (form(Part(name='"\r\nno header\r\nx: "')), None),
        (form(Part(content_type="text")), None),
        (form(Part(filename="ä" * 751)), None),
        (form(Part()).replace(b"form-data", b"attachment"), None),
        (form(Part(name='a"\r\nContent-Type: message/external-body\r\nx: "')), None),
        (form(Part(name='a"\r\nContent-Type: multipart/mixed; boundary="x')), None),
        (form(Part()).replace(b"a.txt", b"\xff"), None),
        (form(*[Part(b"", None)] * 1001), None),
        (form(Part()), "multipart/form-data"),
        (b"{}", "application/json"),
    ],
)
def test_a_form_that_cannot_be_read(
    server: DevServer, body: bytes, content_type: str | None
) -> None:
    """It is refused with the reason, nothing is stored, and the URL stays."""
    url = upload_url(server)
    headers = FORM if content_type is None else {"Content-Type": content_type}
    answer = server.post(url, body, headers)
    assert answer.status == 400
    assert answer.text.startswith("The form cannot be read: ")
    assert server.blobs() == []
    assert server.post(url, form(Part()), FORM).status == 200


def test_a_form_without_enctype(server: DevServer) -> None:
    """Its fields reach the app as they are."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.post(upload_url(server), b"a=1&file=a.txt", headers)
    assert json.loads(answer.body)["body"] == "a=1&file=a.txt"
    server.wait_for_log("warning: the form for /done has no files.*enctype")


def test_an_upload_passes_as_an_administrator(server: DevServer) -> None:
    """Only the server can reach a handler with `login: admin` for anyone's upload."""
    assert len(upload(server, Part())["keys"]) == 1
    assert server.post("/done", form(Part()), FORM).status == 302


def test_a_whole_upload_url(server: DevServer) -> None:
    """A test of an app sends the form to the URL as it is."""
    assert server.post(server.get("/url").text, form(Part()), FORM).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        'text/plain; blob-key="{}',
        'text/plain; charset="x; blob-key={}',
        'text/plain; charset="x\\"; blob-key="{}',
        'text/plain; x="; blob-key={}',
        "text/plain; blob-key*=us-ascii''{}; x=\"",
    ],
)
def test_a_field_cannot_claim_to_be_a_stored_file(
    server: DevServer, content_type: str
) -> None:
    """Not even of a blob that exists: the handler sees no upload."""
    (key,) = upload(server, Part())["keys"]
    told = ("Content-Type: a/b", "Content-Length: 5", "Content-MD5: YQ==")
    created = "X-AppEngine-Upload-Creation: 2026-01-01 00:00:00.000000"
    content = "\r\n".join((*told, created, "", "")).encode()
    name = f'file"\r\nContent-Type: {content_type.format(key)}'
    assert upload(server, Part(content, None, name=name))["keys"] == []


def test_wrong_upload_urls(server: DevServer) -> None:
    """Only POST to a URL of create_upload_url stores anything."""
    url = upload_url(server)
    assert server.get(url).allow == {"POST"}
    (key,) = upload(server, Part())["keys"]
    for wrong in (f"{url}x", "/_ah/upload/", "/_ah/upload/%00", f"/_ah/upload/{key}"):
        assert server.post(wrong, form(Part()), FORM).status == 404
    assert len(server.blobs()) == 1


def test_an_upload_url_cannot_be_guessed(server: DevServer) -> None:
    """It has random characters, and does not only count the URLs."""
    one, other = (upload_url(server)[-32:-16] for _ in range(2))
    assert one != other


def test_an_upload_that_breaks_off_leaves_nothing(server: DevServer) -> None:
    """What had arrived is deleted, and the URL can be used again."""
    url, parts = upload_url(server), form(Part(bytes(3 * PIECE)))
    address = urlsplit(server.url)
    head = f"POST {url} HTTP/1.1\r\nHost: localhost\r\n{FORM_LINE}Content-Length: "
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"{head}{len(parts)}\r\n\r\n".encode() + parts[:-10])
    server.wait_for_log(r"POST /_ah/upload/\S+ 400")
    assert server.blobs() == []
    assert len(upload(server, Part())["keys"]) == 1


FORM_LINE = "".join(f"{name}: {value}\r\n" for name, value in FORM.items())


def test_an_upload_to_a_bucket(server: DevServer) -> None:
    """The blob has the name of an object, and is read by the name and by the key."""
    got = upload(server, Part(b"0123456789"), gs_bucket_name="bucket")
    (key,), (file,) = got["keys"], got["files"]
    assert file["gs_object_name"].startswith("/gs/bucket/")
    assert got["stored"] == [file]
    for name in (key, file["gs_object_name"]):
        assert download(server, name).body == b"0123456789"
    assert json.loads(server.get(f"/read?key={quote(key)}").body)[0] == 10
    assert [blob.key for blob in server.blobs()] == [key]


def picture(width: int, height: int, format_name: str) -> bytes:
    """Return a picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, format_name)
    return file.getvalue()


@pytest.mark.parametrize(
    ("options", "size"),
    [("", (40, 20)), ("=s10", (10, 5)), ("=s10-c", (10, 10)), ("=s0", (40, 20))],
)
@pytest.mark.parametrize(("stored", "sent"), [("PNG", "PNG"), ("JPEG", "JPEG")])
def test_an_image_is_served_in_sizes(
    server: DevServer, options: str, size: tuple[int, int], stored: str, sent: str
) -> None:
    """The URL's options select its longer side and a square crop."""
    (key,) = upload(server, Part(picture(40, 20, stored)))["keys"]
    url = server.get(f"/image?key={key}").text
    answer = server.get(urlsplit(url).path + options)
    with Image.open(io.BytesIO(answer.body)) as image:
        assert (image.format, image.size) == (sent, size)


def test_images_that_cannot_be_served(server: DevServer) -> None:
    """A URL needs get_serving_url, an image, and a size within the limit."""
    (key,) = upload(server, Part())["keys"]
    assert server.get(f"/_ah/img/{key}").status == 404
    path = urlsplit(server.get(f"/image?key={key}").text).path
    assert [server.get(path + end).status for end in ("=s10", "=s1601")] == [400, 400]
    assert server.post(path, b"").allow == {"GET", "HEAD"}
    assert server.get(path).headers["Content-Security-Policy"] == "sandbox"
    server.get(f"/image/delete?key={key}")
    assert server.get(path).status == 404


def test_an_image_of_too_many_pixels(server: DevServer) -> None:
    """A few kilobytes that would need gigabytes of memory are refused."""
    (key,) = upload(server, Part(picture(9000, 9000, "PNG")))["keys"]
    path = urlsplit(server.get(f"/image?key={key}").text).path
    answer = server.get(f"{path}=s32")
    assert (answer.status, "9000 x 9000" in answer.text) == (400, True)


def test_blobs_survive_a_kill_and_end_with_a_reset(
    folder: Path, tmp_path: Path
) -> None:
    """A blob is stored when the app gets it; what had arrived of another is deleted."""
    options = (OWN_PYTHON, f"--storage={tmp_path / 'data'}")
    content = os.urandom(PIECE) + b"end"
    with DevServer(folder, *options) as server:
        (key,) = upload(server, Part(content))["keys"]
        url, parts = upload_url(server), form(Part(bytes(20 * 2**20)))
        stat = (tmp_path / "data" / "devserver.sqlite3").stat
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        with contextlib.closing(connection):
            connection.putrequest("POST", url)
            for name, value in {**FORM, "Content-Length": str(len(parts))}.items():
                connection.putheader(name, value)
            connection.endheaders(parts[: 10 * 2**20])
            wait_until(lambda: stat().st_size > 4 * 2**20, "pieces are stored", 20)
            server.kill()
    with DevServer(folder, *options) as server:
        assert download(server, key).body == content
        assert [blob.key for blob in server.blobs()] == [key]
        server.reset()
        assert server.blobs() == []
        assert download(server, key).status == 500
