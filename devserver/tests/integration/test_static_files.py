"""The static_dir and static_files handlers of app.yaml, and what they never serve."""

import dataclasses
import gzip
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import pytest_asyncio

from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.http import static_files
from gae_devserver.http.limits import Limits
from tests.helpers.http_messages import Answer
from tests.helpers.site import Site, running
from tests.helpers.waiting import PATIENCE, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Answers with the target of the request.
APP = """\
def app(environ, start_response):
    body = b"app " + environ["RAW_URI"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

HANDLERS = """\
default_expiration: "10m"
handlers:
- url: /static/special
  script: auto
- url: /static
  static_dir: assets/static
- url: /typed
  static_dir: assets/static
  mime_type: text/x-mine
  expiration: "1d 2h"
  http_headers:
    X-Mine: "yes"
    Cache-Control: private
- url: /(.*\\.(gif|png))
  static_files: images/\\2/\\1
  upload: images/.*\\.(gif|png)
- url: /favicon.ico
  static_files: assets/favicon.ico
  upload: assets/favicon\\.ico
- url: /maybe
  static_dir: assets/static
  require_matching_file: true
- url: /everything/(.*)
  static_files: \\1
  upload: .*\\.css
- url: /linked
  static_dir: linked
- url: /.*
  script: auto
"""

SECRET = b"not for anyone"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """An app with handlers of every kind, and a secret beside it."""
    outside = tmp_path_factory.mktemp("static")
    (outside / "secret.css").write_bytes(SECRET)
    (outside / "elsewhere").mkdir()
    (outside / "elsewhere" / "a.css").write_bytes(b"linked {}")
    (outside / "elsewhere" / "secret.css").symlink_to("../secret.css")
    folder = outside / "app"
    static = folder / "assets" / "static"
    (static / "deep").mkdir(parents=True)
    (folder / "images" / "png").mkdir(parents=True)
    for file, content in {
        static / "a.css": b"body {}",
        static / "a.css.gz": gzip.compress(b"something else"),
        static / "deep" / "b c.html": b"<p>",
        static / "no-type": b"\x00",
        static / "special": b"hidden by a handler before it",
        folder / "assets" / "favicon.ico": b"icon",
        folder / "assets" / "secret.css": SECRET,
        folder / "images" / "png" / "x.png": b"png",
        folder / "secret.css": SECRET,
    }.items():
        file.write_bytes(content)
    with (static / "large").open("wb") as large:
        large.truncate(2**25)
    (folder / "secret.css").rename(folder / "main.css")
    (static / "link.css").symlink_to("../secret.css")
    (static / "loop").symlink_to("loop")
    (folder / "linked").symlink_to("../elsewhere")
    limits = Limits(stalled_seconds=0.1)
    async with running(folder, APP, HANDLERS, limits=limits) as site:
        yield site


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [
        ("/static/a.css", b"body {}", "text/css"),
        ("/static/a.css?version=2", b"body {}", "text/css"),
        ("/static/deep/b%20c.html", b"<p>", "text/html"),
        ("/static/no-type", b"\x00", "application/octet-stream"),
        ("/typed/a.css", b"body {}", "text/x-mine"),
        ("/x.png", b"png", "image/png"),
        ("/x.png?", b"png", "image/png"),
        ("http://localhost/static/a.css?version=2", b"body {}", "text/css"),
        # `upload` is matched against the whole path, from the app's folder on
        ("/everything/main.css", SECRET, "text/css"),
        ("/everything/assets/static/a.css", b"body {}", "text/css"),
        ("/favicon.ico", b"icon", None),
        ("/maybe/a.css", b"body {}", "text/css"),
        ("/linked/a.css", b"linked {}", "text/css"),
    ],
)
async def test_files_are_served(
    site: Site, target: str, body: bytes, kind: str | None
) -> None:
    """By folder and by pattern, with the type that is guessed or set in app.yaml."""
    answer = await site.get(target)
    assert (answer.status, answer.body) == (200, body)
    assert kind is None or answer.all("Content-Type") == [kind]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/static",
        "/static/special",
        "/staticx/a.css",
        "/x/static/a.css",
        "/maybe/missing.css",
        "//static/a.css",
        "/x.jpg",
        "http://localhost",
        "http://localhost?x=/static/a.css",
    ],
)
async def test_the_first_handler_that_matches_decides(site: Site, target: str) -> None:
    """`script: auto` hides later handlers; the app answers where none matches."""
    answer = await site.get(target)
    assert (answer.status, answer.body) == (200, b"app " + target.encode())


@pytest.mark.parametrize(
    "target",
    [
        "/static/missing.css",
        "/static/",
        "/static/deep",
        "/static/deep/",
        "/missing.png",
        "/linked/missing.css",
        "/static/" + "x" * 300,
        "/static/loop",
        "/static/a.css%00",
        "/static/a.css/",
        "/static/./a.css",
        "/static//a.css",
    ],
)
async def test_a_file_that_is_not_there(site: Site, target: str) -> None:
    """A missing file is 404, and so is a folder; the app is not asked."""
    answer = await site.get(target)
    assert answer.status == 404
    assert answer.all("Content-Type") == ["text/plain; charset=utf-8"]


@pytest.mark.parametrize(
    "target",
    [
        "/static/../secret.css",
        "/static/%2e%2e/secret.css",
        "/static/..%2fsecret.css",
        "/static/%2E%2E%2F%2E%2E%2Fmain.css",
        "/static/deep/../../secret.css",
        "/static/%252e%252e/secret.css",
        "/static//../secret.css",
        "/static/..\\secret.css",
        "/static/link.css",
        "/linked/secret.css",
        "/linked/../secret.css",
        "/everything/../secret.css",
        "/everything/%2e%2e/secret.css",
        "/everything/main.py",
        "/everything/app.yaml",
    ],
)
async def test_no_file_from_outside(site: Site, target: str) -> None:
    """Dots and links do not lead out of the folder, or to a file not in `upload`."""
    answer = await site.get(target)
    assert answer.status == 404
    assert SECRET not in answer.body


async def test_an_absolute_path_is_not_one(site: Site) -> None:
    """A name that begins with a slash is not an absolute path."""
    for target in (f"/static/{site.folder}/main.css", f"/everything/{site.folder}/a"):
        answer = await site.get(target.replace("//", "/%2f"))
        assert answer.status == 404
        assert SECRET not in answer.body


@pytest.mark.parametrize(
    ("target", "cache_control", "seconds"),
    [
        ("/static/a.css", "public, max-age=600", 600),
        ("/typed/a.css", "private", 93600),
    ],
)
async def test_expiration(
    site: Site, target: str, cache_control: str, seconds: int
) -> None:
    """The handler's own, or the default; http_headers of app.yaml override it."""
    answer = await site.get(target)
    assert answer.all("Cache-Control") == [cache_control]
    date, expires = (
        parsedate_to_datetime(answer.all(name)[0]) for name in ("Date", "Expires")
    )
    # the two are taken one after the other
    assert seconds - PATIENCE <= (expires - date).total_seconds() <= seconds + 1
    assert answer.all("X-Mine") == (["yes"] if target == "/typed/a.css" else [])


async def test_a_file_that_the_browser_has(site: Site) -> None:
    """A file is not sent again while it has not changed."""
    first = await site.get("/static/a.css")
    (etag,), (modified,) = first.all("ETag"), first.all("Last-Modified")
    for condition in (f"If-None-Match: {etag}", f"If-Modified-Since: {modified}"):
        answer = await site.get("/static/a.css", condition)
        assert (answer.status, answer.body) == (304, b"")


async def test_a_part_of_a_file(site: Site) -> None:
    """Video players request parts."""
    answer = await site.get("/static/a.css", "Range: bytes=1-3")
    assert (answer.status, answer.body) == (206, b"ody")


async def test_a_compressed_file_beside_it_is_another_file(site: Site) -> None:
    """a.css.gz is not sent for a.css, even if the client accepts gzip."""
    answer = await site.get("/static/a.css", "Accept-Encoding: gzip")
    assert answer.body == b"body {}"
    assert answer.all("Content-Encoding") == []


async def test_head(site: Site) -> None:
    """HEAD has the headers and no body."""
    answer = await site.get("/static/a.css", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.all("Content-Length") == ["7"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods(site: Site, method: str) -> None:
    """A file is read-only."""
    answer = await site.get("/static/a.css", method=method)
    assert answer.status == 405
    assert answer.all("Allow") == ["GET, HEAD"]


def find(folder: Path, handlers: str, target: str) -> static_files.Match | None:
    """Return the match of a target in an app with these handlers."""
    folder.mkdir(exist_ok=True)
    (folder / "app.yaml").write_text(f"runtime: python311\nhandlers:\n{handlers}")
    app = load_app_yaml(folder)
    return static_files.find(app.static_handlers, app.folder, target)


async def test_the_root_can_be_a_folder(tmp_path: Path) -> None:
    """A static_dir at "/" serves the files in it, and 404 for others.

    Without an expiration the browser asks each time: App Engine's default of ten
    minutes would hide edits.
    """
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").touch()
    handlers = "- url: /\n  static_dir: public\n"
    match = find(tmp_path, handlers, "/index.html")
    assert match
    assert match.file == tmp_path / "public" / "index.html"
    headers = static_files.response(match, "GET").headers
    assert headers["Cache-Control"] == "no-cache"
    assert "Expires" not in headers
    missing = find(tmp_path, handlers, "/missing")
    assert missing
    assert missing.file is None


async def test_names_of_files_in_app_yaml(tmp_path: Path) -> None:
    """A group that matches nothing is the empty text; a file may be a link.

    A deployment follows the link too, and no URL can change its target.
    """
    (tmp_path / "outside").touch()
    app = tmp_path / "app"
    (app / "files").mkdir(parents=True)
    (app / "files" / "-x").touch()
    (app / "robots.txt").symlink_to("../outside")
    handlers = """\
- url: /(a)?(x)
  static_files: files/\\1-\\2
  upload: files/.*
- url: /robots.txt
  static_files: robots.txt
  upload: robots.txt
"""
    for target, file in (("/x", "files/-x"), ("/robots.txt", "robots.txt")):
        match = find(app, handlers, target)
        assert match
        assert match.file == app / file


@pytest.mark.parametrize("name", ["If-Modified-Since", "Range", "X-Mine"])
async def test_bytes_that_are_no_text(site: Site, name: str) -> None:
    """A header that is not UTF-8 is ignored; the file is served."""
    head = "GET /static/a.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await site.send(f"{head}{name}: ".encode() + b"\x80\r\n\r\n")
    assert Answer(answer).status == 200
    assert Answer(answer).body == b"body {}"


async def test_a_client_that_reads_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection whose client reads nothing is cut, also in the middle of a file."""
    target = "/static/large"
    with caplog.at_level("INFO", "gae_devserver.request"):
        async with site.connected() as (_, writer):
            head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            writer.write(head.encode())
            # the line of a request is logged at its end
            await until(lambda: target in caplog.text)


async def test_other_settings(site: Site) -> None:
    """Changed settings apply to the next request, without a restart."""
    config = load_app_yaml(site.folder)
    site.app_site.apply(dataclasses.replace(config, static_handlers=()))
    assert (await site.get("/static/a.css")).body == b"app /static/a.css"
    site.app_site.apply(config)
    assert (await site.get("/static/a.css")).body == b"body {}"


async def test_without_an_app(tmp_path: Path) -> None:
    """Files are served while the app does not run."""
    static = tmp_path / "app" / "assets" / "static"
    static.mkdir(parents=True)
    (static / "a.css").write_bytes(b"body {}")
    async with running(tmp_path / "app", APP, HANDLERS) as site:
        await site.supervisor.stop()
        assert (await site.get("/")).status == 503
        assert (await site.get("/static/a.css")).status == 200
