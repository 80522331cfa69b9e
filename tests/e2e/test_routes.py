"""Who may call which route of a deployed version.

Left out is what a server in front of the app may change: a path with dots in it, or
with two slashes. That nothing is deferred by mistake shows in test_schedule, which runs
after these.
"""

import pytest

from tests.servers.base import Site

HANDLERS = ("/_ah/queue/deferred", "/custom/path")
COUNTERS = ("/counter/get", "/counter/increment")

NO_TASK = b"no pickle"
"""What no queue sends; from a queue it would be a 200, because the task is dropped."""

TASK = [("X-AppEngine-TaskName", "forged"), ("X-AppEngine-QueueName", "default")]
FORGERIES = {
    "no header": [],
    "a task's name": TASK,
    "an internal User-IP": [*TASK, ("X-AppEngine-User-IP", "0.1.0.2")],
    "an internal Remote-Addr": [*TASK, ("X-AppEngine-Remote-Addr", "0.1.0.2")],
}


def test_count_is_a_number(site: Site) -> None:
    """The count is all that the page shows."""
    answer = site.get("/counter/get")

    assert answer.status == 200
    assert answer.text.isdecimal()


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize("headers", FORGERIES.values(), ids=FORGERIES)
def test_only_the_queue_may_run_a_task(
    site: Site, path: str, headers: list[tuple[str, str]]
) -> None:
    """A POST from anyone but the task queue is a 403 in plain text."""
    answer = site.post(path, NO_TASK, headers)

    assert answer.status == 403
    assert answer.content_type == "text/plain"


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_handlers_take_post_only(site: Site, path: str, method: str) -> None:
    """Any other method is a 405, which names POST and none of the refused."""
    body = None if method in ("GET", "HEAD") else b""
    answer = site.request(method, path, body=body)

    assert answer.status == 405
    assert "POST" in answer.allow
    assert not answer.allow & {"GET", "HEAD", "PUT", "PATCH", "DELETE"}


@pytest.mark.parametrize("path", COUNTERS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_counter_is_read_only(site: Site, path: str, method: str) -> None:
    """A method that writes is a 405, or a 403 where Django's protection is first."""
    answer = site.request(method, path, body=b"")

    if answer.status == 403:
        assert "CSRF" in answer.text
    else:
        assert answer.status == 405
        assert "GET" in answer.allow
        assert method not in answer.allow


def test_head_never_defers(site: Site) -> None:
    """HEAD, which must change nothing, is refused where GET defers."""
    answer = site.request("HEAD", "/counter/increment")

    assert answer.status == 405
    assert "GET" in answer.allow
    assert "HEAD" not in answer.allow


@pytest.mark.parametrize("path", [*COUNTERS, *HANDLERS])
def test_options_never_runs_a_view(site: Site, path: str) -> None:
    """OPTIONS is refused, or answers what is allowed; it does nothing else."""
    answer = site.request("OPTIONS", path, body=b"")

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
def test_anything_else_is_not_found(site: Site, method: str, path: str) -> None:
    """Routes are exact: a path that only resembles one is a 404."""
    answer = site.request(method, path, body=b"" if method == "POST" else None)

    assert answer.status == 404
