"""What happens to a task that fails: its status, its attempts, and their limits."""

from typing import Any

import pytest

from tests.routes import HANDLERS
from tests.servers.contract_app import ContractApp

AGE = pytest.mark.differs("age limit")


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize("function", ["note", "fail_for_good"])
def test_task_that_is_done_runs_once(
    app: ContractApp, path: str, function: str
) -> None:
    """A task that returns leaves the queue; PermanentTaskFailure is logged too."""
    app.defer(function, "once", _url=path)
    app.server.advance(3600)

    assert len(app.runs("once")) == 1
    assert app.server.tasks() == []
    if function == "fail_for_good":
        app.wait_for_log("Permanent failure attempting to execute task")


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize(
    ("function", "status"), [("fail_this_time", "408"), ("fail", "500")]
)
def test_failure_is_retried(
    app: ContractApp, path: str, function: str, status: str
) -> None:
    """SingularTaskFailure is a 408, another exception a 500; both are tried again.

    A retry has the same name, counts the attempts before it, and knows the last status.
    """
    retry = {"task_retry_limit": 2, "min_backoff_seconds": 10}
    name = app.defer(function, "retried", _url=path, _retry_options=retry)
    app.server.run_due()
    assert len(app.runs()) == 1
    app.server.advance(15)
    app.server.advance(25)

    seen = ("taskname", "taskretrycount", "taskexecutioncount", "taskpreviousresponse")
    assert [[run.headers.get(header) for header in seen] for run in app.runs()] == [
        [name, "0", "0", None],
        [name, "1", "1", status],
        [name, "2", "2", status],
    ]


def test_retries_without_limit_back_off(app: ContractApp) -> None:
    """Without a limit, a task is tried at 0, 0.1, 0.3, 0.7 s and so on forever."""
    app.defer("fail", "forever")

    # attempts are due at 0.1 * (2**n - 1): the ninth at 25.5 s, the tenth at 51.1 s
    app.server.advance(40)
    assert len(app.runs()) == 9

    app.server.advance(40)
    assert len(app.runs()) == 10

    app.server.advance(3600)
    assert app.server.task().retry_count == len(app.runs()) >= 13


def test_url_that_is_not_found_is_retried(app: ContractApp) -> None:
    """A task for a URL that gets 404 stays in the queue."""
    app.defer("note", "lost", _url="/nowhere")
    app.server.advance(1000)

    assert app.server.task().retry_count >= 10
    assert app.runs() == []


@pytest.mark.parametrize(
    ("queue", "options", "waits"),
    [
        ("default", {"task_retry_limit": 2, "min_backoff_seconds": 10}, [10, 20]),
        ("default", {"task_retry_limit": 0}, []),
        ("twice", None, [10]),
        # a task's own options replace all of its queue's
        (
            "twice",
            {"task_retry_limit": 3, "min_backoff_seconds": 20},
            [20, 40, 80],
        ),
        # the age counts from the first attempt
        pytest.param(
            "default",
            {"task_age_limit": 100, "min_backoff_seconds": 60},
            [60, 120],
            marks=AGE,
        ),
        pytest.param("aged", None, [60, 120], marks=AGE),
        # with both limits, a task is retried until both are reached
        pytest.param(
            "default",
            {
                "task_retry_limit": 1,
                "task_age_limit": 100,
                "min_backoff_seconds": 20,
            },
            [20, 40, 80],
            marks=AGE,
        ),
        pytest.param(
            "default",
            {"task_retry_limit": 3, "min_backoff_seconds": 20, "max_doublings": 0},
            [20, 40, 60],
            marks=pytest.mark.changes("doublings"),
        ),
    ],
)
def test_limits(
    app: ContractApp, queue: str, options: dict[str, Any] | None, waits: list[float]
) -> None:
    """A task that fails is tried again after each of these waits, and then dropped."""
    retry = {} if options is None else {"_retry_options": options}
    app.defer("fail", "limited", _queue=queue, _countdown=1000, **retry)
    app.server.advance(1000.5)

    for wait in waits:
        due_in = app.server.task(queue).due_in
        assert due_in == pytest.approx(wait, abs=5)
        app.server.advance(due_in + 0.5)

    assert app.server.tasks(queue) == []
    assert len(app.runs()) == 1 + len(waits)


def test_backoff_of_the_queue(app: ContractApp) -> None:
    """Backoff doubles max_doublings times, then grows evenly, up to its maximum."""
    app.defer("fail", "slower", _queue="backoff")
    app.server.run_due()

    waits = []
    for _ in range(5):
        waits.append(app.server.task("backoff").due_in)
        app.server.advance(waits[-1] + 0.5)

    assert waits == pytest.approx([10, 20, 40, 60, 60], abs=5)
    assert len(app.runs()) == 6


def test_headers_of_the_first_attempt(app: ContractApp) -> None:
    """A task knows its name, queue and attempt, and that App Engine sent it."""
    name = app.defer("note", "first")
    app.server.run_due()

    (run,) = app.runs()
    expected = {
        "taskname": name,
        "queuename": "default",
        "taskretrycount": "0",
        "taskexecutioncount": "0",
        "taskpreviousresponse": None,
        "remote-addr": "0.1.0.2",
        "country": "ZZ",
        "user-is-admin": "0",
        "user-id": "",
        "user-email": "",
        "user-nickname": "",
        "user-organization": "",
        "auth-domain": "gmail.com",
        "server-protocol": "HTTP/1.1",
    }
    assert {key: run.headers.get(key) for key in expected} == expected
    # seconds since the epoch, with a fraction
    assert float(run.headers["tasketa"]) == pytest.approx(run.time, abs=5)
    assert "." in run.headers["tasketa"]
    for header in (
        "api-ticket",
        "request-log-id",
        "request-id-hash",
        "default-version-hostname",
        "server-name",
        "server-port",
    ):
        assert run.headers.get(header), header


def test_headers_of_a_request_from_outside(app: ContractApp) -> None:
    """A request that no queue sent has no header of a task."""
    app.call("note", "request")

    (run,) = app.runs("request")
    assert not [header for header in run.headers if header.startswith("task")]
    assert "queuename" not in run.headers
    assert run.headers["remote-addr"] != "0.1.0.2"
