"""shared/deferred_handler.py: what it logs."""

import pytest
from gae_devserver.testing import wait_until

from tests.apps.payloads import call, sent
from tests.apps.plain_gunicorn import PlainGunicorn


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        ("succeed", "200 Success"),
        ("fail_for_good", "200 PermanentTaskFailure"),
        ("fail_this_time", "408 SingularTaskFailure"),
        ("fail", "failed: ValueError('the task fails on purpose')"),
    ],
)
def test_custom_handler_logs_before_and_after(
    app: PlainGunicorn, function: str, outcome: str
) -> None:
    """The log has the task's name, queue and retry count, and then the outcome."""
    task = f"Task log-{function}, queue default, retry count 3"

    app.post("/custom/path", call(function), sent(task=f"log-{function}"))

    wait_until(lambda: f"{task}: {outcome}" in app.log(), f"{outcome} is logged")
    assert app.log().index(f"{task}: received") < app.log().index(f"{task}: {outcome}")


def test_forged_task_is_logged_as_refused(app: PlainGunicorn) -> None:
    """An attempt to run a task from outside is logged."""
    headers = [("X-AppEngine-TaskName", "forged")]

    app.post("/custom/path", call("succeed"), headers)

    forged = "Task forged, queue unknown, retry count unknown"
    wait_until(lambda: f"{forged}: 403 " in app.log(), "the refusal is logged")


def test_api_ticket_is_not_logged(app: PlainGunicorn) -> None:
    """The log does not show what lets a request call App Engine's services."""
    for url in ("/custom/path", "/_ah/queue/deferred"):
        app.post(url, call("fail_for_good"), sent(Api_Ticket="a-secret-ticket"))

    wait_until(lambda: "Permanent failure" in app.log(), "the failure is logged")
    assert "a-secret-ticket" not in app.log()
