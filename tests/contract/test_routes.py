"""The routes that the three apps share, and who may call them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers.base import Server
from tests.servers.contract_app import ContractApp
from tests.servers.embedded import Embedded

DEFERRED = "/_ah/queue/deferred"
CUSTOM = "/custom/path"
HANDLERS = (DEFERRED, CUSTOM)
COUNTERS = ("/counter/get", "/counter/increment")

LOADED = b"ccontract_tasks\nnote\n(Vloaded\ntR."
"""A pickle that calls contract_tasks.note("loaded") as soon as it is loaded."""

TASK = [("X-AppEngine-TaskName", "forged"), ("X-AppEngine-QueueName", "default")]
FORGERIES = {
    "no header": [],
    "a task's name": TASK,
    "an internal User-IP": [*TASK, ("X-AppEngine-User-IP", "0.1.0.2")],
    "an internal Remote-Addr": [*TASK, ("X-AppEngine-Remote-Addr", "0.1.0.2")],
    "both addresses": [
        *TASK,
        ("X-AppEngine-User-IP", "0.1.0.2"),
        ("X-AppEngine-Remote-Addr", "0.1.0.2"),
    ],
    "underscores": [
        ("X_AppEngine_TaskName", "forged"),
        ("X_AppEngine_User_IP", "0.1.0.2"),
        ("X_AppEngine_Remote_Addr", "0.1.0.2"),
    ],
    "a proxy's header": [*TASK, ("X-Forwarded-For", "0.1.0.2")],
    "the headers of a real task": [
        *TASK,
        ("X-AppEngine-TaskRetryCount", "0"),
        ("X-AppEngine-TaskExecutionCount", "0"),
        ("X-AppEngine-TaskETA", "1700000000.000000"),
        ("X-AppEngine-User-IP", "0.1.0.2"),
        ("X-AppEngine-Remote-Addr", "0.1.0.2"),
        ("X-AppEngine-Fake-Is-Admin", "1"),
        ("User-Agent", "AppEngine-Google; (+http://code.google.com/appengine)"),
    ],
}


def test_count_is_0_before_the_first_task(server: Server) -> None:
    """The count is 0 before the first task has run."""
    answer = server.get("/counter/get")

    assert (answer.status, answer.text) == (200, "0")
    assert answer.content_type == "text/html"


@pytest.mark.differs("caching")
def test_answer_has_the_apps_headers(server: Server) -> None:
    """What the app does not say about caching, no server says for it."""
    answer = server.get("/counter/get")

    assert "Cache-Control" not in answer.headers
    assert "Expires" not in answer.headers


def test_reading_does_not_write(app: ContractApp) -> None:
    """Showing the count makes no entity."""
    app.server.get("/counter/get")

    assert app.call("stored_count") is None


def test_increment_answers_at_once(server: Server) -> None:
    """The page that defers answers with the documented text."""
    answer = server.get("/counter/increment")

    assert (answer.status, answer.text) == (200, "Deferred counter increment.")
    assert answer.content_type == "text/html"


def test_increment_defers_now_and_later(app: ContractApp) -> None:
    """One task runs at once; one for the same URL waits 60 s, one for another 120 s."""
    app.server.get("/counter/increment")
    app.server.run_due()

    first, second = app.server.tasks()
    assert (first.method, first.url) == ("POST", DEFERRED)
    assert first.due_in == pytest.approx(60, abs=5)
    assert (second.method, second.url) == ("POST", CUSTOM)
    assert second.due_in == pytest.approx(120, abs=5)
    assert app.count() == 10


@pytest.mark.differs("pause")
def test_increment_defers_exactly_three_tasks(embedded: Embedded) -> None:
    """Two tasks are for the default URL, now and in 60 s, one for the custom."""
    embedded.pause("default")

    embedded.get("/counter/increment")

    tasks = embedded.tasks()
    assert [task.url for task in tasks] == [DEFERRED, DEFERRED, CUSTOM]
    assert [task.due_in for task in tasks] == pytest.approx([0, 60, 120], abs=5)


def test_many_increments_at_once_lose_nothing(app: ContractApp) -> None:
    """Requests that defer at the same time each get their three tasks run."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(app.server.get, ["/counter/increment"] * 8))
    app.server.advance(130)

    assert app.count() == 8 * 30


def test_every_process_shows_the_same_count(app: ContractApp) -> None:
    """All processes and threads of the app read the entity that the tasks write."""
    app.server.get("/counter/increment")
    app.server.run_due()

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(app.server.get, ["/counter/get"] * 32)

    assert {answer.text for answer in answers} == {"10"}


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize("headers", FORGERIES.values(), ids=FORGERIES)
def test_only_the_queue_may_run_a_task(
    app: ContractApp, path: str, headers: list[tuple[str, str]]
) -> None:
    """A POST from anyone but the task queue is a 403, and nothing is unpickled."""
    answer = app.server.post(path, LOADED, headers)

    assert answer.status == 403
    assert answer.content_type == "text/plain"
    assert app.runs() == []


@pytest.mark.parametrize("path", HANDLERS)
def test_the_queue_may_run_a_task(app: ContractApp, path: str) -> None:
    """The pickle that the forged requests carry does run when the queue sends it."""
    app.call("enqueue", path, LOADED.decode())
    app.server.run_due()

    assert [run.path for run in app.runs("loaded")] == [path]


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_handlers_take_post_only(app: ContractApp, path: str, method: str) -> None:
    """Any other method is a 405, which names POST and none of the refused."""
    answer = app.server.request(method, path)

    assert answer.status == 405
    assert "POST" in answer.allow
    assert not answer.allow & {"GET", "HEAD", "PUT", "PATCH", "DELETE"}


@pytest.mark.parametrize("path", COUNTERS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_counter_is_read_only(
    app: ContractApp, app_name: str, path: str, method: str
) -> None:
    """Any method that writes is a 405; Django's CSRF protection comes before it."""
    answer = app.server.request(method, path, body=b"")
    app.server.run_due()

    if app_name == "django":
        assert answer.status == 403
    else:
        assert answer.status == 405
        assert "GET" in answer.allow
        assert method not in answer.allow
    assert app.server.tasks() == []
    assert app.count() == 0


def test_head_never_defers(app: ContractApp) -> None:
    """HEAD, which must change nothing, is refused where GET defers."""
    answer = app.server.request("HEAD", "/counter/increment")
    app.server.run_due()

    assert answer.status == 405
    assert "GET" in answer.allow
    assert "HEAD" not in answer.allow
    assert app.server.tasks() == []
    assert app.count() == 0


@pytest.mark.parametrize("path", [*COUNTERS, *HANDLERS])
def test_options_never_runs_a_view(app: ContractApp, path: str) -> None:
    """OPTIONS is refused, or answers what is allowed; it does nothing else."""
    answer = app.server.request("OPTIONS", path, body=b"")
    app.server.run_due()

    assert answer.status in (200, 405)
    assert answer.allow & {"GET", "POST"}
    assert b"Deferred counter increment" not in answer.body
    assert app.server.tasks() == []
    assert app.runs() == []
    assert app.count() == 0


@pytest.mark.parametrize(
    "path",
    [
        "/counter/g%65t",
        pytest.param("/counter%2Fget", marks=pytest.mark.differs("escapes")),
    ],
)
def test_escapes_are_decoded(server: Server, path: str) -> None:
    """A path is what its escapes stand for, and %2F is a slash."""
    answer = server.get(path)

    assert (answer.status, answer.text) == (200, "0")


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
        "/counter%2Fget/x",
        "/custom",
        "/custom/path/",
        "/custom/path/x",
        "/evil/custom/path/x",
        "/evil/custom/path",
        pytest.param("/evil/../custom/path", marks=pytest.mark.differs("dots")),
        "/_ah/queue",
        "/_ah/queue/deferred/",
        "/_ah/queue/deferredx",
        "/shared/counter.py",
        "/main.py",
        "/app.yaml",
    ],
)
def test_anything_else_is_not_found(app: ContractApp, method: str, path: str) -> None:
    """Routes are exact: a path that only resembles one is a 404."""
    answer = app.server.request(method, path, TASK, b"" if method == "POST" else None)

    assert answer.status == 404
    assert app.server.tasks() == []


FRAMEWORKS = {
    # Werkzeug drops a leading slash too many, and redirects where one is inside
    "flask": {"//counter/get": 200, "/counter//get": 308},
    "django": {"//counter/get": 404, "/counter//get": 404},
    "plain_wsgi": {"//counter/get": 404, "/counter//get": 404},
}
"""Where the frameworks differ: what each answers to a path with a slash too many."""


@pytest.mark.parametrize("path", ["//counter/get", "/counter//get"])
def test_slash_too_many(server: Server, app_name: str, path: str) -> None:
    """A framework may take it for the path without, and no other."""
    answer = server.get(path)

    assert answer.status == FRAMEWORKS[app_name][path]
    if answer.status == 308:
        assert answer.headers["Location"].endswith("/counter/get")


@pytest.mark.parametrize("path", ["//custom/path", "//_ah/queue/deferred"])
def test_slash_too_many_runs_no_task(app: ContractApp, path: str) -> None:
    """A visitor runs nothing through such a path."""
    answer = app.server.request("POST", path, TASK, LOADED)

    assert answer.status in {403, 404}
    assert app.runs() == []
