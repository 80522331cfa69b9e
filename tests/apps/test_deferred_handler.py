"""shared/deferred_handler.py: what it returns, raises and logs."""

import io
import logging
from http import HTTPStatus
from wsgiref.types import WSGIEnvironment

import pytest
from google.appengine.ext import deferred

from shared.deferred_handler import CustomDeferredHandler

PLAIN_TEXT = [("Content-Type", "text/plain")]

ran: list[str] = []


def task(how: str) -> None:
    """Note that the task ran, and end in the way asked for."""
    ran.append(how)
    match how:
        case "for good":
            raise deferred.PermanentTaskFailure("never again")
        case "this time":
            raise deferred.SingularTaskFailure("once more")
        case "bug":
            raise ValueError("on purpose")


@pytest.fixture(autouse=True)
def forget() -> None:
    """Begin each test with no task run."""
    ran.clear()


def request(how: str, **changes: str | None) -> WSGIEnvironment:
    """Return the request of a task; None takes a variable away."""
    payload = deferred.serialize(task, how)
    environ = {
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
        "REMOTE_ADDR": "0.1.0.2",
        "HTTP_X_APPENGINE_TASKNAME": "task1",
        "HTTP_X_APPENGINE_QUEUENAME": "default",
        "HTTP_X_APPENGINE_TASKRETRYCOUNT": "2",
        "CONTENT_LENGTH": str(len(payload)),
        "wsgi.input": io.BytesIO(payload),
        **changes,
    }
    return {name: value for name, value in environ.items() if value is not None}


@pytest.mark.parametrize(
    ("how", "text", "status"),
    [
        ("well", "Success", HTTPStatus.OK),
        ("for good", "PermanentTaskFailure", HTTPStatus.OK),
        ("this time", "SingularTaskFailure", HTTPStatus.REQUEST_TIMEOUT),
    ],
)
def test_outcome(
    how: str, text: str, status: HTTPStatus, caplog: pytest.LogCaptureFixture
) -> None:
    """The task runs once; text, status and headers come back; two lines are logged."""
    caplog.set_level(logging.INFO)

    answer = CustomDeferredHandler().post(request(how))

    assert answer == (text, status, PLAIN_TEXT)
    assert ran == [how]
    assert lines(caplog) == [
        "Task task1, queue default, retry count 2: received",
        f"Task task1, queue default, retry count 2: {status.value} {text}",
    ]


def test_any_other_exception(caplog: pytest.LogCaptureFixture) -> None:
    """It comes through, to be a 500, and is the outcome that is logged."""
    caplog.set_level(logging.INFO)

    with pytest.raises(ValueError, match="on purpose"):
        CustomDeferredHandler().post(request("bug"))

    assert lines(caplog) == [
        "Task task1, queue default, retry count 2: received",
        "Task task1, queue default, retry count 2: failed: ValueError('on purpose')",
    ]


@pytest.mark.parametrize(
    "changes",
    [{"HTTP_X_APPENGINE_TASKNAME": None}, {"REMOTE_ADDR": "203.0.113.9"}],
    ids=["no task name", "another sender"],
)
def test_refusal(
    changes: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    """What the queue did not send is a 403, does not run, and is logged."""
    caplog.set_level(logging.INFO)

    text, status, headers = CustomDeferredHandler().post(request("well", **changes))

    assert (status, headers) == (HTTPStatus.FORBIDDEN, PLAIN_TEXT)
    assert ran == []
    assert lines(caplog)[-1].endswith(f": 403 {text}")


def test_run_from_request_lets_exceptions_through() -> None:
    """Who overrides run_from_request sees what the task raises."""
    with pytest.raises(deferred.SingularTaskFailure):
        CustomDeferredHandler().run_from_request(request("this time"))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the handler logged, without the SDK's own lines."""
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if message.startswith("Task ")]
