"""Which request is answered how, by gunicorn and the app alone."""

import pathlib

import pytest

from tests.apps.payloads import FROM_QUEUE, call, trap, without
from tests.apps.plain_gunicorn import PlainGunicorn

TASK_URLS = ["/_ah/queue/deferred", "/custom/path"]
COUNTER_URLS = ["/counter/get", "/counter/increment"]
NO_SUCH_URLS = [
    "/",
    "/counter",
    "/counter/get/",
    "/counter/getter",
    "/counter/get%0A",
    "/COUNTER/GET",
    "/xcounter/get",
    "/counter/increment/",
    "/custom/path/",
    "/evil/custom/path/x",
    "/evil/../custom/path",
    "/evil/%2e%2e/custom/path",
    "/_ah/queue/deferred/",
    "/_ah/queue/deferred/x",
    "/evil/../_ah/queue/deferred",
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("url", NO_SUCH_URLS)
def test_other_path_is_not_found(
    app: PlainGunicorn, url: str, method: str, tmp_path: pathlib.Path
) -> None:
    """Paths are exact: any other is a 404, and runs no task either."""
    ran = tmp_path / "ran"

    answer = app.request(method, url, FROM_QUEUE, trap(ran))

    assert answer.status == 404
    assert not ran.exists()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize("url", ["/evil/custom/path", "/evil/counter/increment"])
def test_visitor_cannot_move_the_app(app: PlainGunicorn, url: str, method: str) -> None:
    """A header that is a proxy's changes no path, then or later in the same thread."""
    for _ in range(70):
        moved = app.request(method, url, {"SCRIPT_NAME": "/evil"})
        assert moved.status == 404
    assert app.request("GET", "/custom/path").status == 405


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("url", TASK_URLS)
def test_task_url_takes_only_post(
    app: PlainGunicorn, url: str, method: str, tmp_path: pathlib.Path
) -> None:
    """Other methods are a 405 whose Allow says POST, even with a task's headers."""
    ran = tmp_path / "ran"

    answer = app.request(method, url, FROM_QUEUE, trap(ran))

    assert answer.status == 405
    assert "POST" in answer.allow
    assert answer.allow <= {"POST", "OPTIONS"}
    assert not ran.exists()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("url", COUNTER_URLS)
def test_counter_url_takes_only_get(app: PlainGunicorn, url: str, method: str) -> None:
    """Other methods are a 405 with Allow; in Django, CSRF protection is asked first."""
    answer = app.request(method, url)

    if app.app.name == "django_app":
        assert answer.status == 403
        assert "CSRF" in answer.text
    else:
        assert answer.status == 405
        assert "GET" in answer.allow
        assert method not in answer.allow


def test_head_never_enqueues(app: PlainGunicorn) -> None:
    """HEAD is a 405 where GET defers tasks.

    With no API server there, a view that ran would be a 500, as it is for GET.
    """
    assert app.request("HEAD", "/counter/increment").status == 405
    assert "HEAD" not in app.request("HEAD", "/counter/increment").allow
    assert app.request("GET", "/counter/increment").status == 500


@pytest.mark.parametrize("url", TASK_URLS + COUNTER_URLS)
def test_options_runs_no_view(
    app: PlainGunicorn, url: str, tmp_path: pathlib.Path
) -> None:
    """OPTIONS is a 405, or a 200 with Allow; it runs no task."""
    ran = tmp_path / "ran"

    answer = app.request("OPTIONS", url, FROM_QUEUE, trap(ran))

    assert answer.status in {200, 405}
    assert answer.allow & {"GET", "POST"}
    assert not ran.exists()


@pytest.mark.parametrize("url", TASK_URLS + COUNTER_URLS)
def test_allow_tells_the_truth(app: PlainGunicorn, url: str) -> None:
    """No method that Allow names is answered with 405."""
    allow = app.request("OPTIONS", url).allow
    if (app.app.name, url) == ("flask_app", "/counter/increment"):
        allow -= {"HEAD"}  # Flask names it for each view of GET; this view refuses it
    for method in allow:
        assert app.request(method, url).status != 405, method


@pytest.mark.parametrize(
    ("function", "status", "text"),
    [
        ("succeed", 200, "Success"),
        ("fail_for_good", 200, "PermanentTaskFailure"),
        ("fail_this_time", 408, "SingularTaskFailure"),
        ("no_such_function", 200, "PermanentTaskFailure"),
    ],
)
@pytest.mark.parametrize("url", TASK_URLS)
def test_task_answers_in_plain_text(
    app: PlainGunicorn, url: str, function: str, status: int, text: str
) -> None:
    """The status says done, dropped or to be retried; the handler's headers pass on."""
    answer = app.request("POST", url, FROM_QUEUE, call(function))

    assert (answer.status, answer.text) == (status, text)
    assert answer.headers.get_all("Content-Type") == ["text/plain"]


@pytest.mark.parametrize("url", TASK_URLS)
def test_any_other_exception_is_a_500(app: PlainGunicorn, url: str) -> None:
    """A task that raises anything else answers 500, so that it is retried."""
    assert app.request("POST", url, FROM_QUEUE, call("fail")).status == 500


@pytest.mark.parametrize("payload", [b"", b"garbage"])
@pytest.mark.parametrize("url", TASK_URLS)
def test_garbage_is_dropped(app: PlainGunicorn, url: str, payload: bytes) -> None:
    """A task that cannot be unpickled will never be: it is dropped with a 200."""
    answer = app.request("POST", url, FROM_QUEUE, payload)

    assert (answer.status, answer.text) == (200, "PermanentTaskFailure")


@pytest.mark.parametrize(
    "headers",
    [
        FROM_QUEUE,
        # the embedded dev server says the same twice
        without(X_AppEngine_Remote_Addr="0.1.0.2"),
    ],
    ids=["App Engine", "embedded server"],
)
@pytest.mark.parametrize("url", TASK_URLS)
def test_the_queue_may_run_a_task(
    app: PlainGunicorn, url: str, headers: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """What the task queue posts is unpickled and run: the refusals below can fail."""
    ran = tmp_path / "ran"

    answer = app.request("POST", url, headers, trap(ran))

    assert answer.status != 403
    assert ran.exists()


FORGED = {
    "no headers": {},
    "no task name": without("X-AppEngine-TaskName"),
    "no sender": without("X-AppEngine-User-IP"),
    "a client as the sender": without(X_AppEngine_User_IP="203.0.113.9"),
    "two senders": without(X_AppEngine_User_IP="0.1.0.2,203.0.113.9"),
    "Remote-Addr is a client": without(X_AppEngine_Remote_Addr="203.0.113.9"),
    "Remote-Addr lies": without(
        X_AppEngine_User_IP="203.0.113.9", X_AppEngine_Remote_Addr="0.1.0.2"
    ),
    "Remote-Addr lies, User-IP is empty": without(
        X_AppEngine_User_IP="", X_AppEngine_Remote_Addr="0.1.0.2"
    ),
    "Remote-Addr is the warm-up's": without(
        X_AppEngine_User_IP="203.0.113.9", X_AppEngine_Remote_Addr="0.1.0.3"
    ),
}


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("url", TASK_URLS)
def test_nobody_else_may_run_a_task(
    app: PlainGunicorn, url: str, forged: str, tmp_path: pathlib.Path
) -> None:
    """Without the queue's headers a POST is a 403 in plain text; nothing is loaded."""
    ran = tmp_path / "ran"

    answer = app.request("POST", url, FORGED[forged], trap(ran))

    assert answer.status == 403
    assert answer.content_type == "text/plain"
    assert not ran.exists()


DEV_APPSERVER = without("X-AppEngine-User-IP", X_AppEngine_Remote_Addr="0.1.0.2")
"""The headers of a task as dev_appserver.py sends them: without User-IP."""


@pytest.mark.parametrize("url", TASK_URLS)
def test_dev_appserver_may_run_a_task(
    app: PlainGunicorn, url: str, gae_env: str, tmp_path: pathlib.Path
) -> None:
    """Remote-Addr without User-IP is believed on a dev server, and only there."""
    ran = tmp_path / "ran"

    answer = app.request("POST", url, DEV_APPSERVER, trap(ran))

    assert (answer.status != 403) == (gae_env == "localdev")
    assert ran.exists() == (gae_env == "localdev")


@pytest.mark.parametrize("software", ["Development/2.0", ""])
@pytest.mark.parametrize("user_ip", [None, "0.1.0.2"])
@pytest.mark.parametrize("url", TASK_URLS)
def test_a_client_of_dev_appserver_may_not(
    app: PlainGunicorn,
    url: str,
    user_ip: str | None,
    software: str,
    gae_env: str,
    tmp_path: pathlib.Path,
) -> None:
    """What came in by dev_appserver.py's own port carries Server-Software: refused.

    It adds the header to every such request unless the client has sent one. On App
    Engine the header says nothing, and User-IP decides.
    """
    ran = tmp_path / "ran"
    headers = DEV_APPSERVER | {"X-AppEngine-Server-Software": software}
    if user_ip:
        headers["X-AppEngine-User-IP"] = user_ip
    refused = gae_env == "localdev" or not user_ip

    answer = app.request("POST", url, headers, trap(ran))

    assert (answer.status == 403) == refused
    assert ran.exists() != refused
