"""What becomes of a task that fails: its status, its attempts, and their limits."""

import pytest

from tests.servers.contract_app import ContractApp

HANDLERS = ("/_ah/queue/deferred", "/custom/path")


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize(
    ("function", "status", "text"),
    [
        ("note", 200, "Success"),
        ("fail_for_good", 200, "PermanentTaskFailure"),
        ("fail_this_time", 408, "SingularTaskFailure"),
    ],
)
def test_answer_to_the_queue(
    app: ContractApp, path: str, function: str, status: int, text: str
) -> None:
    """The app tells the queue in plain text what became of a task."""
    answer = app.call("post_to_itself", path, function)

    assert answer == [status, "text/plain", text]
    assert len(app.runs("posted")) == 1


@pytest.mark.parametrize("path", HANDLERS)
def test_answer_to_the_queue_after_an_error(app: ContractApp, path: str) -> None:
    """Any other exception is a 500."""
    status, _, _ = app.call("post_to_itself", path, "fail")

    assert status == 500
    assert len(app.runs("posted")) == 1


@pytest.mark.parametrize("path", HANDLERS)
def test_task_that_succeeds_runs_once(app: ContractApp, path: str) -> None:
    """A task that returns is a 200: it leaves the queue and runs no second time."""
    app.defer("note", "fine", _url=path)
    app.server.advance(3600)

    assert len(app.runs("fine")) == 1
    assert app.server.tasks() == []


@pytest.mark.parametrize("path", HANDLERS)
def test_permanent_failure_is_dropped(app: ContractApp, path: str) -> None:
    """PermanentTaskFailure is a 200: the task is logged and dropped."""
    app.defer("fail_for_good", "permanent", _url=path)
    app.server.advance(3600)

    assert len(app.runs("permanent")) == 1
    assert app.server.tasks() == []
    app.wait_for_log("Permanent failure attempting to execute task")


@pytest.mark.parametrize("path", HANDLERS)
@pytest.mark.parametrize(
    ("function", "status"), [("fail_this_time", "408"), ("fail", "500")]
)
def test_failure_is_retried(
    app: ContractApp, path: str, function: str, status: str
) -> None:
    """SingularTaskFailure is a 408, another exception a 500; both are tried again."""
    app.defer(
        function,
        "retried",
        _url=path,
        _retry_options={"task_retry_limit": 1, "min_backoff_seconds": 10},
    )
    app.server.run_due()
    assert len(app.runs()) == 1

    app.server.advance(15)

    first, second = app.runs("retried")
    assert "taskpreviousresponse" not in first.headers
    assert second.headers["taskpreviousresponse"] == status


def test_task_that_fails_twice(app: ContractApp) -> None:
    """A task that fails twice runs three times, and is then done."""
    app.defer("fail_times", "twice", 2)
    app.server.advance(10)

    assert [run.headers["taskretrycount"] for run in app.runs()] == ["0", "1", "2"]
    assert app.server.tasks() == []


def test_retries_without_limit_back_off(app: ContractApp) -> None:
    """Without a limit a task is tried at 0, 0.1, 0.3, 0.7 s and so on for ever."""
    app.defer("fail", "for ever")

    # attempts are due at 0.1 * (2**n - 1): the ninth at 25.5 s, the tenth at 51.1 s
    app.server.advance(40)
    assert len(app.runs()) == 9

    app.server.advance(40)
    assert len(app.runs()) == 10

    app.server.advance(3600)
    assert app.server.task().retry_count == len(app.runs()) >= 13


def test_url_that_is_not_found_is_retried(app: ContractApp) -> None:
    """A task for a URL that is a 404 stays in the queue."""
    app.defer("note", "lost", _url="/nowhere")
    app.server.advance(1000)

    assert app.server.task().retry_count >= 10
    assert app.runs() == []


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
        "remote-addr": "0.1.0.2",
        "country": "ZZ",
        "user-is-admin": "0",
        "user-id": "",
        "user-email": "",
        "user-nickname": "",
        "user-organization": "",
        "auth-domain": "gmail.com",
        "current-namespace": "",
        "server-protocol": "HTTP/1.1",
    }
    assert {key: run.headers.get(key) for key in expected} == expected
    assert "taskpreviousresponse" not in run.headers
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
    app.call("note_request", "request")

    (run,) = app.runs("request")
    assert not [header for header in run.headers if header.startswith("task")]
    assert "queuename" not in run.headers
    assert run.headers["remote-addr"] != "0.1.0.2"


def test_headers_of_later_attempts(app: ContractApp) -> None:
    """A retry has the same name, and counts the attempts before it."""
    name = app.defer("fail", "counted", _retry_options={"min_backoff_seconds": 10})
    app.server.run_due()
    app.server.advance(15)
    app.server.advance(25)

    runs = app.runs()
    assert {run.headers["taskname"] for run in runs} == {name}
    assert [run.headers["taskretrycount"] for run in runs] == ["0", "1", "2"]
    assert [run.headers["taskexecutioncount"] for run in runs] == ["0", "1", "2"]
    previous = [run.headers.get("taskpreviousresponse") for run in runs]
    assert previous == [None, "500", "500"]


def test_retry_limit_of_the_task(app: ContractApp) -> None:
    """With a limit of 2 and a backoff of 10 s it runs at 0, 10 and 30 s, then goes."""
    app.defer(
        "fail",
        "limited",
        _retry_options={"task_retry_limit": 2, "min_backoff_seconds": 10},
    )
    app.server.run_due()
    assert app.server.task().due_in == pytest.approx(10, abs=5)

    app.server.advance(12)
    assert app.server.task().due_in == pytest.approx(20, abs=5)

    app.server.advance(22)
    assert app.server.tasks() == []
    assert len(app.runs()) == 3


def test_retry_limit_of_0(app: ContractApp) -> None:
    """With a limit of 0 there is one attempt."""
    app.defer("fail", "once", _retry_options={"task_retry_limit": 0})
    app.server.advance(3600)

    assert len(app.runs()) == 1
    assert app.server.tasks() == []


@pytest.mark.differs("age limit")
def test_age_limit_of_the_task(app: ContractApp) -> None:
    """After its age limit, counted from the first attempt, a task is tried no more."""
    app.defer(
        "fail",
        "aged",
        _countdown=1000,
        _retry_options={"task_age_limit": 100, "min_backoff_seconds": 60},
    )
    app.server.advance(1005)
    assert len(app.runs()) == 1

    app.server.advance(60)
    assert len(app.runs()) == 2

    app.server.advance(3600)
    assert len(app.runs()) == 3
    assert app.server.tasks() == []


@pytest.mark.differs("age limit")
def test_both_limits_must_be_reached(app: ContractApp) -> None:
    """With a retry limit and an age limit a task goes on until both are reached."""
    app.defer(
        "fail",
        "both",
        _retry_options={
            "task_retry_limit": 1,
            "task_age_limit": 100,
            "min_backoff_seconds": 20,
            "max_doublings": 0,
        },
    )
    # attempts are due at 0, 20, 60 and 120 s
    app.server.advance(65)
    assert len(app.runs()) == 3

    app.server.advance(3600)
    assert len(app.runs()) == 4
    assert app.server.tasks() == []


def test_retry_limit_of_the_queue(app: ContractApp) -> None:
    """A retry limit in queue.yaml holds for tasks that bring none."""
    app.defer("fail", "queue's", _queue="twice")
    app.server.run_due()
    assert app.server.task("twice").due_in == pytest.approx(10, abs=5)

    app.server.advance(3600)
    assert len(app.runs()) == 2
    assert app.server.tasks("twice") == []


def test_retry_limit_of_the_task_comes_first(app: ContractApp) -> None:
    """A task's own options replace the queue's."""
    app.defer("fail", "own", _queue="twice", _retry_options={"task_retry_limit": 3})
    app.server.advance(3600)

    assert len(app.runs()) == 4
    assert app.server.tasks("twice") == []


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


@pytest.mark.differs("age limit")
def test_age_limit_of_the_queue(app: ContractApp) -> None:
    """An age limit in queue.yaml holds for tasks that bring none."""
    app.defer("fail", "aged", _queue="aged")
    app.server.advance(3600)

    assert len(app.runs()) == 3
    assert app.server.tasks("aged") == []


def test_custom_handler_logs_before_and_after(app: ContractApp) -> None:
    """The custom handler logs name, queue and retry count, and then the outcome."""
    name = app.defer("note", "logged", _url="/custom/path", _queue="other")
    app.server.run_due()

    lines = app.wait_for_log(rf"Task {name}.*\n(.*\n)*.*Task {name}.*").splitlines()
    before, after = (line for line in lines if f"Task {name}" in line)
    for line in (before, after):
        assert "queue other" in line
        assert "retry count 0" in line
    assert "200" in after


def test_custom_handler_logs_a_failure(app: ContractApp) -> None:
    """The custom handler logs what a task raised, and lets it be retried."""
    name = app.defer("fail_times", "logged", 1, _url="/custom/path")
    app.server.advance(5)

    app.wait_for_log(rf"Task {name}.*retry count 0.*fails on purpose")
    app.wait_for_log(rf"Task {name}.*retry count 1.*200")
