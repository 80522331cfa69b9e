"""The routes that the three apps share, and who may call them."""

import itertools
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.routes import (
    CUSTOM,
    DEFERRED,
    HANDLERS,
    REMOTE_ADDR,
    TASK,
    USER_IP,
    Headers,
    Posted,
    Routes,
    UnusualPaths,
)
from tests.servers.base import Server
from tests.servers.contract_app import LOADED, ContractApp
from tests.servers.embedded import Embedded

FORGED = [
    *TASK,
    USER_IP,
    REMOTE_ADDR,
    ("X-AppEngine-Cron", "true"),
    ("X-AppEngine-Api-Ticket", "0" * 32),
    ("X-Forwarded-For", "0.1.0.2"),
]


def with_underscores(name: str) -> str:
    """Return a name that is the same one in WSGI."""
    return name.replace("-", "_")


class TestRoutes(Routes, UnusualPaths):
    """What a visitor gets."""

    @pytest.fixture
    def site(self, app: ContractApp) -> Iterator[Server]:
        """The server; after the test nothing is deferred and nothing has run."""
        yield app.server
        app.server.run_due()
        assert app.server.tasks() == []
        assert app.runs() == []
        assert app.count() == 0

    @pytest.fixture
    def posted(self) -> Posted:
        """A request in the name of a task, with a payload that could run."""
        return TASK, LOADED

    @pytest.mark.parametrize("path", HANDLERS)
    @pytest.mark.parametrize("spelling", [str, str.upper, with_underscores])
    def test_only_the_queue_may_run_a_task(
        self, site: Server, path: str, spelling: Callable[[str], str]
    ) -> None:
        """A visitor's POST gets 403 in plain text, whatever headers it forges."""
        for number in range(len(FORGED) + 1):
            for chosen in itertools.combinations(FORGED, number):
                headers = [(spelling(name), value) for name, value in chosen]
                answer = site.post(path, LOADED, headers)
                assert (answer.status, answer.content_type) == (403, "text/plain"), (
                    chosen
                )

    @pytest.mark.parametrize("path", HANDLERS)
    def test_body_in_chunks_runs_no_task(self, site: Server, path: str) -> None:
        """A chunked body, repeated headers or a trailer do not help either."""
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in FORGED)
        chunks = b"%x\r\n%s\r\n0\r\n" % (len(LOADED), LOADED)
        for head, trailer in ((lines * 2, b""), (b"", lines), (lines, lines)):
            request = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                "Transfer-Encoding: chunked\r\n"
            ).encode()
            data = request + head + b"\r\n" + chunks + trailer + b"\r\n"
            address = urlsplit(site.url)
            with socket.create_connection((address.hostname, address.port)) as client:
                client.settimeout(30)
                client.sendall(data)
                assert re.match(rb"HTTP/1\.[01] [45]\d\d ", client.recv(65536))

    @pytest.mark.parametrize("headers", [[], FORGED])
    def test_only_cron_may_sweep(self, site: Server, headers: Headers) -> None:
        """The SDK's sweep of transactional tasks refuses visitors, if there is one."""
        assert site.get("/_ah/cloudtask/sweep", headers).status in {403, 404}

    @pytest.mark.parametrize("path", ["//custom/path", "//_ah/queue/deferred"])
    def test_extra_slash_runs_no_task(
        self, site: Server, path: str, posted: Posted
    ) -> None:
        """A visitor runs nothing through such a path."""
        headers, body = posted

        assert site.post(path, body, headers).status in {403, 404}


@pytest.mark.parametrize("path", HANDLERS)
def test_the_queue_may_run_a_task(app: ContractApp, path: str) -> None:
    """The pickle that the forged requests carry does run when the queue sends it.

    A task that was added without a Content-Type is sent as bytes.
    """
    app.call("enqueue", path, LOADED.decode())
    app.server.run_due()

    (run,) = app.runs("loaded")
    assert (run.path, run.content_type) == (path, "application/octet-stream")


def test_count_is_0_before_the_first_task(app: ContractApp) -> None:
    """The count is 0 before the first task has run; showing it creates no entity."""
    answer = app.server.get("/counter/get")

    assert (answer.status, answer.text) == (200, "0")
    assert answer.content_type == "text/html"
    assert app.call("stored_count") is None


@pytest.mark.differs("caching")
def test_answer_has_the_apps_headers(server: Server) -> None:
    """If the app says nothing about caching, the server adds nothing."""
    answer = server.get("/counter/get")

    assert "Cache-Control" not in answer.headers
    assert "Expires" not in answer.headers


@pytest.mark.differs("pause")
def test_increment_defers_exactly_three_tasks(
    app: ContractApp, embedded: Embedded
) -> None:
    """Two tasks are for the default URL, now and in 60 s, one for the custom.

    The page writes no entity: that is left to the tasks.
    """
    embedded.pause("default")

    answer = embedded.get("/counter/increment")

    assert (answer.status, answer.text) == (200, "Deferred counter increment.")
    assert answer.content_type == "text/html"
    assert app.call("stored_count") is None
    tasks = embedded.tasks()
    assert [(task.method, task.url) for task in tasks] == [
        ("POST", DEFERRED),
        ("POST", DEFERRED),
        ("POST", CUSTOM),
    ]
    assert [task.due_in for task in tasks] == pytest.approx([0, 60, 120], abs=5)


def test_many_increments_at_once_lose_nothing(app: ContractApp) -> None:
    """Requests at the same time each add their three tasks; all see the same count."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(app.server.get, ["/counter/increment"] * 8))
        app.server.advance(130)
        answers = pool.map(app.server.get, ["/counter/get"] * 32)

    assert {answer.text for answer in answers} == {str(8 * 30)}


@pytest.mark.parametrize(
    "path",
    [
        "/counter/g%65t",
        pytest.param("/counter%2Fget", marks=pytest.mark.differs("escapes")),
    ],
)
def test_escapes_are_decoded(server: Server, path: str) -> None:
    """Escapes in a path are decoded, and %2F becomes a slash."""
    answer = server.get(path)

    assert (answer.status, answer.text) == (200, "0")


@pytest.mark.parametrize(
    ("path", "status"), [("//counter/get", 200), ("/counter//get", 308)]
)
def test_extra_slash(server: Server, app_name: str, path: str, status: int) -> None:
    """Flask drops an extra slash in front, and redirects to drop one inside."""
    answer = server.get(path)

    assert answer.status == (status if app_name == "flask" else 404)
    if answer.status == 308:
        assert answer.headers["Location"].endswith("/counter/get")
