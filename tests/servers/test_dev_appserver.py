"""What the table of differences says about dev_appserver.py and the contract skips.

There, the contract's own tests of these entries would take minutes to fail, need what
only the embedded server has, or break the server for later tests.
"""

import pathlib
from collections.abc import Iterator

import pytest
from gae_devserver.testing import wait_until
from google.appengine.api.taskqueue import taskqueue_service_bytes_pb2 as pb

from tests.servers.contract_app import ContractApp
from tests.servers.dev_appserver import DevAppserver
from tests.servers.staging import stage
from tools import cloud_sdk


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A staged app."""
    try:
        cloud_sdk.find_dev_appserver()
    except cloud_sdk.NotInstalledError as error:
        pytest.skip(str(error))
    return stage("plain_wsgi", tmp_path_factory.mktemp("google"))


@pytest.fixture(scope="module")
def server(
    staged: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevAppserver]:
    """A server for the tests that do not break it."""
    server = DevAppserver(staged, tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def app(staged: pathlib.Path, server: DevAppserver) -> ContractApp:
    """The app, with nothing stored and nothing queued."""
    app = ContractApp(server, staged.parent)
    app.reset()
    return app


@pytest.mark.shows("one at a time")
def test_one_task_at_a_time(app: ContractApp) -> None:
    """While a task runs, no other one does, not even from another queue."""
    app.defer("hold", "long", 2)
    app.defer("note", "other queue", _queue="other")
    app.server.run_due()

    assert [(run.label, run.extra.get("at")) for run in app.runs()] == [
        ("long", "start"),
        ("long", "end"),
        ("other queue", None),
    ]


@pytest.mark.shows("pause")
def test_no_queue_can_be_paused(server: DevAppserver, app: ContractApp) -> None:
    """The API has a call for it, but the tasks of the queue still run."""
    for app_id in (b"", b"sample", b"dev~sample"):
        server.call(
            "PauseQueue",
            pb.TaskQueuePauseQueueRequest(
                app_id=app_id, queue_name=b"default", pause=True
            ),
            pb.TaskQueuePauseQueueResponse(),
        )
    app.defer("note", "not paused")
    server.run_due()

    assert len(app.runs()) == 1


@pytest.mark.shows("failing purge")
@pytest.mark.shows("restart")
def test_scheduler_that_ends(staged: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A failed task that purged its queue ends it; a restart loses the other tasks."""
    server = DevAppserver(staged, tmp_path)
    try:
        app = ContractApp(server, staged.parent)
        app.reset()
        first = app.defer("purge_own_queue", "purging", "default")
        app.wait_for_log("Exception in thread")
        waiting = app.defer("note", "after")

        wait_until(lambda: server.task().due_in < -1, "a second has passed")
        assert server.task().name == waiting
        assert [run.label for run in app.runs()] == ["purging"]
    finally:
        server.stop()

    server = DevAppserver(staged, tmp_path)
    try:
        assert server.tasks() == []
        again = ContractApp(server, staged.parent).defer("note", "again")
        assert first == again == "task1"
    finally:
        server.stop()
