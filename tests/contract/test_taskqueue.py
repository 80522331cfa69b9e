"""What an app may do with the task queue API itself."""

from urllib.parse import urlsplit

import pytest
from gae_devserver.testing import wait_until

from tests.routes import CUSTOM
from tests.servers.contract_app import ContractApp


@pytest.mark.changes("threads")
def test_call_in_a_request(app: ContractApp) -> None:
    """A view can add a task, on each Python."""
    assert app.server.get("/counter/increment").status == 200


@pytest.mark.changes("url")
def test_default_url_names_the_queue(app: ContractApp) -> None:
    """A task without a URL goes to its queue's."""
    app.call("add", queue_name="other", countdown=60)

    assert app.server.task("other").url == "/_ah/queue/other"


@pytest.mark.changes("version")
def test_task_goes_where_it_was_added(app: ContractApp) -> None:
    """Whichever version answers there when the task is due runs it."""
    app.call("add", url=CUSTOM, countdown=60)

    host = urlsplit(app.server.url).netloc
    assert app.server.task().headers.get("host") == host


@pytest.mark.differs("headers")
@pytest.mark.changes("headers")
def test_repeated_header(app: ContractApp) -> None:
    """A header can have several values."""
    app.defer("note", "repeated", _headers={"X-Own": ["one", "two"]})
    app.server.run_due()

    (run,) = app.runs("repeated")
    assert run.own["x-own"].replace(" ", "") == "one,two"


@pytest.mark.changes("wait")
def test_calls_at_once(app: ContractApp) -> None:
    """An app can wait for the first of several calls that are under way."""
    assert app.call("add_and_wait", "one", "two", "three") == 3
    app.server.run_due()

    assert {run.label for run in app.runs()} == {"one", "two", "three"}


def test_pull_queue(app: ContractApp) -> None:
    """Tasks of a pull queue are counted, and can be deleted by name."""
    name = app.call("add", queue_name="pull", method="PULL", payload="work")

    assert app.call("statistics", "pull", "tasks") == [1]
    assert app.call("delete", "pull", name) is True


@pytest.mark.realtime
@pytest.mark.changes("deadline")
def test_dispatch_deadline(app: ContractApp) -> None:
    """A task that runs longer than its own deadline has failed, and is tried again."""
    app.call("add_held", 30, dispatch_deadline_usec=15_000_000)
    wait_until(app.runs, "the task has started")

    wait_until(lambda: len(app.runs()) > 1, "it has ended, or is tried again", 60)
    assert app.runs()[1].extra["at"] == "start"
