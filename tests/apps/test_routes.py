"""What gunicorn and the app alone answer, on App Engine and on a dev server."""

import http.client
import pathlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.apps.payloads import QUEUE_IP, call, sent, trap
from tests.apps.plain_gunicorn import PlainGunicorn
from tests.routes import COUNTERS, HANDLERS, Posted, Routes, UnusualPaths
from tests.servers.base import Site


class TestRoutes(Routes, UnusualPaths):
    """What the task queue itself gets."""

    @pytest.fixture
    def site(self, app: PlainGunicorn, tmp_path: pathlib.Path) -> Iterator[Site]:
        """The app; after the test no payload was loaded."""
        yield app
        assert not (tmp_path / "ran").exists()

    @pytest.fixture
    def posted(self, tmp_path: pathlib.Path) -> Posted:
        """The request of a real task."""
        return sent(), trap(tmp_path / "ran")


CLIENT = "203.0.113.9"
DEVELOPMENT = "Development/2.0"
TASK, VISITOR, FORGED = "runs", "runs no task", "is refused on every page"
SENDERS = {
    # sender: its headers, and what becomes of it on App Engine and on a dev server
    "App Engine": (sent(), TASK, TASK),
    "embedded server": (sent(Remote_Addr=QUEUE_IP), TASK, TASK),
    # it sends no User-IP; on App Engine, that would be a client that forges Remote-Addr
    "dev_appserver.py": (sent(user_ip=None, Remote_Addr=QUEUE_IP), FORGED, TASK),
    "its warm-up": (sent(user_ip=None, Remote_Addr="0.1.0.3"), FORGED, VISITOR),
    # it adds Server-Software to what arrives at its port, unless the client sent one
    "client of dev_appserver.py": (
        sent(user_ip=None, Remote_Addr=QUEUE_IP, Server_Software=DEVELOPMENT),
        FORGED,
        FORGED,
    ),
    "the same, software empty": (
        sent(user_ip=None, Remote_Addr=QUEUE_IP, Server_Software=""),
        FORGED,
        FORGED,
    ),
    "the same, warm-up": (
        sent(user_ip=None, Remote_Addr="0.1.0.3", Server_Software=DEVELOPMENT),
        FORGED,
        FORGED,
    ),
    "the same, with User-IP": (
        sent(Remote_Addr=QUEUE_IP, Server_Software=DEVELOPMENT),
        TASK,
        FORGED,
    ),
    "the same, with User-IP, software empty": (
        sent(Remote_Addr=QUEUE_IP, Server_Software=""),
        TASK,
        FORGED,
    ),
    "honest client of dev_appserver.py": (
        sent(user_ip=None, Remote_Addr=CLIENT, Server_Software=DEVELOPMENT),
        VISITOR,
        VISITOR,
    ),
    "no header": ([], VISITOR, VISITOR),
    "no task name": (sent(task=None), VISITOR, VISITOR),
    "no address": (sent(user_ip=None), VISITOR, VISITOR),
    "client": (sent(user_ip=CLIENT), VISITOR, VISITOR),
    "client, twice": (sent(user_ip=CLIENT, Remote_Addr=CLIENT), VISITOR, VISITOR),
    "two clients": (sent(user_ip=CLIENT, Remote_Addr="198.51.100.1"), VISITOR, VISITOR),
    "two User-IPs": (sent(user_ip=f"{QUEUE_IP},{CLIENT}"), VISITOR, VISITOR),
    "Remote-Addr of a client": (sent(Remote_Addr=CLIENT), VISITOR, VISITOR),
    "forged Remote-Addr": (sent(user_ip=CLIENT, Remote_Addr=QUEUE_IP), FORGED, FORGED),
    "forged warm-up": (sent(user_ip=CLIENT, Remote_Addr="0.1.0.3"), FORGED, FORGED),
    "cron as a task": (sent(user_ip="0.1.0.1", Remote_Addr=QUEUE_IP), FORGED, FORGED),
    "empty User-IP": (sent(user_ip="", Remote_Addr=QUEUE_IP), FORGED, FORGED),
    "two Remote-Addrs": (sent(Remote_Addr=f"{QUEUE_IP},{QUEUE_IP}"), FORGED, FORGED),
}


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("url", HANDLERS)
def test_only_the_queue_may_run_a_task(
    app: PlainGunicorn, gae_env: str, url: str, sender: str, tmp_path: pathlib.Path
) -> None:
    """Any other sender gets 403 in plain text; its payload is not loaded.

    One that claims an address of App Engine's gets 403 from other pages too.
    """
    ran = tmp_path / "ran"
    headers, on_app_engine, on_dev_server = SENDERS[sender]
    expected = on_app_engine if gae_env == "standard" else on_dev_server

    answer = app.post(url, trap(ran), headers)
    other_page = app.get("/", headers)

    assert ran.exists() == (expected == TASK)
    assert (answer.status == 403) == (expected != TASK)
    assert answer.status != 403 or answer.content_type == "text/plain"
    assert other_page.status == (403 if expected == FORGED else 404)


ADDRESSES = st.just([QUEUE_IP]) | st.lists(
    st.sampled_from([QUEUE_IP] * 4 + ["0.1.0.3", "0.1.0.20", "127.0.0.1", "::1"]),
    max_size=2,
)


@settings(
    database=None,
    deadline=None,
    derandomize=False,  # other headers in each run, in CI too
    print_blob=True,
)
@given(
    url=st.sampled_from(HANDLERS),
    name=st.sampled_from(["task1", "task1", "task1", ""]),
    user_ips=ADDRESSES,
    remote_addrs=ADDRESSES,
    software=st.sampled_from([False, False, False, True]),
)
def test_any_sender(
    app: PlainGunicorn,
    gae_env: str,
    url: str,
    name: str,
    user_ips: list[str],
    remote_addrs: list[str],
    software: bool,
) -> None:
    """A request runs a task only if all its headers say that the queue sent it."""
    headers = [("X-AppEngine-TaskName", name)] if name else []
    headers += [("X-AppEngine-User-IP", ip) for ip in user_ips]
    headers += [("X-AppEngine-Remote-Addr", ip) for ip in remote_addrs]
    # dev_appserver.py adds this to what arrives at its port, and to no task
    headers += [("X-AppEngine-Server-Software", "Dev")] if software else []
    queue = [QUEUE_IP]
    is_task = name and user_ips == queue and remote_addrs in ([], queue)
    if gae_env == "localdev":
        is_task = is_task or (name and user_ips == [] and remote_addrs == queue)
        is_task = is_task and not (software and remote_addrs)

    answer = app.post(url, call("succeed"), headers)

    assert answer.status == (200 if is_task else 403)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize("url", ["/evil/custom/path", "/evil/counter/increment"])
def test_visitor_cannot_move_the_app(app: PlainGunicorn, url: str, method: str) -> None:
    """A proxy's header changes no path, neither now nor later in the same thread."""
    for _ in range(70):
        moved = app.request(method, url, [("SCRIPT_NAME", "/evil")])
        assert moved.status == 404
    assert app.get("/custom/path").status == 405


@pytest.mark.parametrize("url", [*HANDLERS, *COUNTERS])
def test_allow_tells_the_truth(app: PlainGunicorn, url: str) -> None:
    """No method that Allow names gets 405."""
    allow = app.request("OPTIONS", url).allow
    if (app.app.name, url) == ("flask_app", "/counter/increment"):
        allow -= {"HEAD"}  # Flask names it for each view of GET; this view refuses it
    for method in allow:
        assert app.request(method, url).status != 405, method


@pytest.mark.parametrize(
    ("payload", "status", "text"),
    [
        (call("succeed"), 200, "Success"),
        (call("fail_for_good"), 200, "PermanentTaskFailure"),
        (call("fail_this_time"), 408, "SingularTaskFailure"),
        (call("no_such_function"), 200, "PermanentTaskFailure"),
        (b"", 200, "PermanentTaskFailure"),
        (b"garbage", 200, "PermanentTaskFailure"),
    ],
)
@pytest.mark.parametrize("url", HANDLERS)
def test_answer_to_the_queue(
    app: PlainGunicorn, url: str, payload: bytes, status: int, text: str
) -> None:
    """The status says done, dropped or to be retried, in the handler's plain text."""
    answer = app.post(url, payload, sent())

    assert (answer.status, answer.text) == (status, text)
    assert answer.headers.get_all("Content-Type") == ["text/plain"]


@pytest.mark.parametrize("url", HANDLERS)
def test_chunked_body_is_read_as_empty(app: PlainGunicorn, url: str) -> None:
    """A task without a Content-Length is dropped: the SDK reads no body."""
    connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=30)
    body = iter([call("succeed")])
    connection.request("POST", url, body, dict(sent()), encode_chunked=True)
    answer = connection.getresponse()

    assert (answer.status, answer.read()) == (200, b"PermanentTaskFailure")
    connection.close()
