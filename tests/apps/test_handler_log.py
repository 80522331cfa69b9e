"""What the shared handler logs of a task that an app gets."""

import pytest
from gae_devserver.testing import wait_until

from tests.apps.payloads import FROM_QUEUE, call
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
    """The app's log has task name, queue, retry count, and then the outcome."""
    headers = FROM_QUEUE | {"X-AppEngine-TaskName": f"log-{function}"}
    task = f"Task log-{function}, queue default, retry count 3"

    app.request("POST", "/custom/path", headers, call(function))

    wait_until(lambda: f"{task}: {outcome}" in app.log(), f"{outcome} is logged")
    assert app.log().index(f"{task}: received") < app.log().index(f"{task}: {outcome}")


def test_forged_task_is_logged_as_refused(app: PlainGunicorn) -> None:
    """Somebody who tries to run a task leaves a line in the log."""
    headers = {"X-AppEngine-TaskName": "forged"}

    app.request("POST", "/custom/path", headers, call("succeed"))

    wait_until(lambda: "Task forged, queue unknown" in app.log(), "the task is logged")
    wait_until(lambda: ": 403 Detected" in app.log(), "the outcome is logged")


def test_api_ticket_is_not_logged(app: PlainGunicorn) -> None:
    """What lets a request call App Engine's services does not end up in the log."""
    headers = FROM_QUEUE | {"X-AppEngine-Api-Ticket": "a-secret-ticket"}

    for url in ("/custom/path", "/_ah/queue/deferred"):
        app.request("POST", url, headers, call("fail_for_good"))

    wait_until(lambda: "Permanent failure" in app.log(), "the failure is logged")
    assert "a-secret-ticket" not in app.log()
