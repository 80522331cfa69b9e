"""The static_dir and static_files handlers of app.yaml, and what they never serve."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import pytest_asyncio

from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.http import server as http_server
from gae_devserver.http import static_files
from tests.helpers.http_messages import Answer
from tests.helpers.site import Site, running
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Says that the app was asked, and for what.
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
    (folder / "secret.css").rename(folder / "main.css")
    (static / "link.css").symlink_to("../secret.css")
    (static / "loop").symlink_to("loop")
    (folder / "linked").symlink_to("../elsewhere")
    async with running(folder, APP, HANDLERS) as site:
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
        ("/favicon.ico", b"icon", None),
        ("/maybe/a.css", b"body {}", "text/css"),
        ("/linked/a.css", b"linked {}", "text/css"),
    ],
)
async def test_files_are_served(
    site: Site, target: str, body: bytes, kind: str | None
) -> None:
    """By folder and by pattern, with the type that fits or that app.yaml says."""
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
        "/x.png?",
    ],
)
async def test_the_first_handler_that_fits_decides(site: Site, target: str) -> None:
    """`script: auto` hides what comes after it; the rest is the app's."""
    answer = await site.get(target)
    if target == "/x.png?":
        assert answer.body == b"png"
    else:
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
    """It is 404 and does not go to the app; a folder is no file."""
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
    """Neither dots nor links lead out of the folder, nor to what is not uploaded."""
    answer = await site.get(target)
    assert answer.status == 404
    assert SECRET not in answer.body


async def test_an_absolute_path_is_not_one(site: Site) -> None:
    """A name that begins with a slash is not a file of the system."""
    for target in (f"/static/{site.folder}/main.css", f"/everything/{site.folder}/a"):
        answer = await site.get(target.replace("//", "/%2f"))
        assert answer.status == 404
        assert SECRET not in answer.body


async def test_what_upload_names_is_served(site: Site) -> None:
    """The pattern is asked for the whole path, from the app's folder on."""
    assert (await site.get("/everything/main.css")).body == SECRET
    assert (await site.get("/everything/assets/static/a.css")).status == 200


async def test_expiration(site: Site) -> None:
    """The handler's own, or the default; a header of app.yaml wins over both."""
    answer = await site.get("/static/a.css")
    assert answer.all("Cache-Control") == ["public, max-age=600"]
    date, expires = (answer.all(name)[0] for name in ("Date", "Expires"))
    lasts = parsedate_to_datetime(expires) - parsedate_to_datetime(date)
    assert 598 <= lasts.total_seconds() <= 602
    answer = await site.get("/typed/a.css")
    assert answer.all("Cache-Control") == ["private"]
    assert answer.all("X-Mine") == ["yes"]
    date, expires = (answer.all(name)[0] for name in ("Date", "Expires"))
    lasts = parsedate_to_datetime(expires) - parsedate_to_datetime(date)
    assert 93598 <= lasts.total_seconds() <= 93602


async def test_without_expiration_an_edit_is_seen(tmp_path: Path) -> None:
    """The browser has to ask each time: App Engine's ten minutes would hide edits."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.css").touch()
    app_yaml = "handlers:\n- url: /static\n  static_dir: static\n"
    async with running(tmp_path, APP, app_yaml) as plain:
        answer = await plain.get("/static/a.css")
        assert answer.all("Cache-Control") == ["no-cache"]
        assert answer.all("Expires") == []


async def test_a_file_that_the_browser_has(site: Site) -> None:
    """It is not sent again while it has not changed."""
    first = await site.get("/static/a.css")
    (etag,), (modified,) = first.all("ETag"), first.all("Last-Modified")
    for condition in (f"If-None-Match: {etag}", f"If-Modified-Since: {modified}"):
        answer = await site.get("/static/a.css", condition)
        assert (answer.status, answer.body) == (304, b"")


async def test_a_part_of_a_file(site: Site) -> None:
    """Players of videos ask for parts."""
    answer = await site.get("/static/a.css", "Range: bytes=1-3")
    assert (answer.status, answer.body) == (206, b"ody")


async def test_a_compressed_file_beside_it_is_another_file(site: Site) -> None:
    """a.css.gz is not sent for a.css, though the client would take it."""
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
    """A file can only be read."""
    answer = await site.get("/static/a.css", method=method)
    assert answer.status == 405
    assert answer.all("Allow") == ["GET, HEAD"]


async def test_files_are_served_without_the_app(tmp_path: Path) -> None:
    """An app that does not run has its files served all the same."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.css").write_text("x")
    app_yaml = "handlers:\n- url: /static\n  static_dir: static\n"
    async with running(tmp_path, APP, app_yaml) as site:
        (tmp_path / "main.py").write_text("raise RuntimeError")
        site.supervisor.restart()
        assert (await site.get("/")).status == 503
        assert (await site.get("/static/a.css")).status == 200


def find(folder: Path, handlers: str, target: str) -> static_files.Match | None:
    """Return what a target leads to in an app with these handlers."""
    folder.mkdir(exist_ok=True)
    (folder / "app.yaml").write_text(f"runtime: python311\nhandlers:\n{handlers}")
    app = load_app_yaml(folder)
    return static_files.find(app.static_handlers, app.folder, target)


async def test_the_root_can_be_a_folder(tmp_path: Path) -> None:
    """A static_dir at "/" serves what is in it; what is missing is 404."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").touch()
    handlers = "- url: /\n  static_dir: public\n"
    match = find(tmp_path, handlers, "/index.html")
    assert match
    assert match.file == tmp_path / "public" / "index.html"
    missing = find(tmp_path, handlers, "/missing")
    assert missing
    assert missing.file is None


async def test_a_group_that_takes_no_part(tmp_path: Path) -> None:
    """A group that matched nothing is empty text, not an error."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "-x").touch()
    handlers = "- url: /(a)?(x)\n  static_files: files/\\1-\\2\n  upload: files/.*\n"
    match = find(tmp_path, handlers, "/x")
    assert match
    assert match.file == tmp_path / "files" / "-x"


async def test_a_file_that_app_yaml_names_may_be_a_link(tmp_path: Path) -> None:
    """A deploy follows it too, and no URL can change where it leads."""
    (tmp_path / "robots.txt").touch()
    app = tmp_path / "app"
    app.mkdir()
    (app / "robots.txt").symlink_to("../robots.txt")
    handlers = "- url: /robots.txt\n  static_files: robots.txt\n  upload: robots.txt\n"
    match = find(app, handlers, "/robots.txt")
    assert match
    assert match.file == app / "robots.txt"


@pytest.mark.parametrize("name", ["If-Modified-Since", "Range", "X-Mine"])
async def test_bytes_that_are_no_text(site: Site, name: str) -> None:
    """A header that nothing can be made of is left out; the file is served."""
    head = "GET /static/a.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await site.send(f"{head}{name}: ".encode() + b"\x80\r\n\r\n")
    assert Answer(answer).status == 200
    assert Answer(answer).body == b"body {}"


async def test_a_target_with_a_host(site: Site) -> None:
    """`GET http://HOST/path` is the same as `GET /path`, as HTTP has it."""
    answer = await site.get("http://localhost/static/a.css?version=2")
    assert answer.body == b"body {}"
    for target in ("http://localhost", "http://localhost?x=/static/a.css"):
        assert (await site.get(target)).body == f"app {target}".encode()


async def test_a_client_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is cut after a while, also in the middle of a file."""
    monkeypatch.setattr(http_server, "STALLED_SECONDS", 0.1)
    handlers = "handlers:\n- url: /static\n  static_dir: static\n"
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "large").write_bytes(bytes(32 * 2**20))
    async with running(tmp_path, APP, handlers) as site:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", site.port, limit=2**16
        )
        writer.write(b"GET /static/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        # the rest of the file waits in the buffers of this machine, and no more comes
        async with asyncio.timeout(PATIENCE):
            while site.connections:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
        writer.close()
