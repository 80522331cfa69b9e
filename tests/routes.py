"""Which route answers what to whom: on a dev server, on gunicorn alone, and deployed.

A test module takes the classes that hold for its servers as bases of one class, and its
conftest.py has the fixture `site`.
"""

import pytest
from gae_devserver.testing import Response

from tests.servers.base import Site

DEFERRED = "/_ah/queue/deferred"
CUSTOM = "/custom/path"
HANDLERS = (DEFERRED, CUSTOM)
COUNTERS = ("/counter/get", "/counter/increment")

Headers = list[tuple[str, str]]

NO_TASK = b"no pickle"
"""What no queue sends; from a queue it would be a 200, because the task is dropped."""

TASK = [("X-AppEngine-TaskName", "forged"), ("X-AppEngine-QueueName", "default")]
USER_IP = ("X-AppEngine-User-IP", "0.1.0.2")
REMOTE_ADDR = ("X-AppEngine-Remote-Addr", "0.1.0.2")
Posted = tuple[Headers, bytes]


def ask(site: Site, method: str, path: str, posted: Posted) -> Response:
    """Send a request with these headers, and with the body if the method has one."""
    headers, body = posted
    has_body = method in ("POST", "PUT", "PATCH")
    return site.request(method, path, headers, body if has_body else None)


class Routes:
    """Methods and paths. Each request pretends to be a task."""

    @pytest.fixture
    def posted(self) -> Posted:
        """The headers and the body that it has if its method has one."""
        return TASK, NO_TASK

    @pytest.mark.parametrize("path", HANDLERS)
    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
    def test_handlers_take_post_only(
        self, site: Site, path: str, method: str, posted: Posted
    ) -> None:
        """Any other method gets 405; Allow names POST and none of those refused."""
        answer = ask(site, method, path, posted)

        assert answer.status == 405
        assert "POST" in answer.allow
        assert not answer.allow & {"GET", "HEAD", "PUT", "PATCH", "DELETE"}

    @pytest.mark.parametrize("path", COUNTERS)
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_counter_is_read_only(
        self, site: Site, path: str, method: str, posted: Posted
    ) -> None:
        """A method that writes gets 405, or 403 from Django's CSRF protection."""
        answer = ask(site, method, path, posted)

        if answer.status == 403:
            assert "CSRF" in answer.text
        else:
            assert answer.status == 405
            assert "GET" in answer.allow
            assert method not in answer.allow

    def test_head_never_defers(self, site: Site) -> None:
        """HEAD, which must change nothing, is refused where GET defers."""
        answer = site.request("HEAD", "/counter/increment")

        assert answer.status == 405
        assert "GET" in answer.allow
        assert "HEAD" not in answer.allow

    @pytest.mark.parametrize("path", [*COUNTERS, *HANDLERS])
    def test_options_never_runs_a_view(
        self, site: Site, path: str, posted: Posted
    ) -> None:
        """OPTIONS is refused, or returns what is allowed; it does nothing else."""
        answer = ask(site, "OPTIONS", path, posted)

        assert answer.status in (200, 405)
        assert answer.allow & {"GET", "POST"}
        assert b"Deferred counter increment" not in answer.body

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/counter",
            "/xcounter/get",
            "/counter/getter",
            "/counter/get/",
            "/counter/increment/",
            "/COUNTER/get",
            "/custom",
            "/custom/path/",
            "/custom/path/x",
            "/evil/custom/path",
            "/evil/custom/path/x",
            "/shared/counter.py",
            "/main.py",
            "/app.yaml",
        ],
    )
    def test_anything_else_is_not_found(
        self, site: Site, path: str, method: str, posted: Posted
    ) -> None:
        """Routes are exact: a path that only resembles one gets 404."""
        answer = ask(site, method, path, posted)

        assert answer.status == 404


DOTS = pytest.mark.differs("dots")


class UnusualPaths:
    """Paths that a server in front of a deployed app may change or keep to itself."""

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        "path",
        [
            "/_ah/queue",
            "/_ah/queue/deferred/",
            "/_ah/queue/deferred/x",
            "/_ah/queue/deferredx",
            "/counter/get%0A",
            "/counter%2Fget/x",
            pytest.param("/evil/%2e%2e/custom/path", marks=DOTS),
            pytest.param("/evil/../custom/path", marks=DOTS),
            pytest.param("/evil/.." + DEFERRED, marks=DOTS),
        ],
    )
    def test_unusual_path_is_not_found(
        self, site: Site, path: str, method: str, posted: Posted
    ) -> None:
        """No path is resolved or shortened to one of the routes."""
        answer = ask(site, method, path, posted)

        assert answer.status == 404
