"""Tasks that are part of a datastore transaction."""

import json

import pytest
from gae_devserver.testing import wait_until

from tests.servers.contract_app import CaseError, ContractApp
from tests.servers.embedded import Embedded


def test_commit_enqueues(app: ContractApp) -> None:
    """A transaction that commits enqueues up to five tasks, in any queue; they wait."""
    app.call("commit", "together", 5, _queue="other", _countdown=60)

    assert app.call("has_entity", "together") is True
    due = [task.due_in for task in app.server.tasks("other")]
    assert due == pytest.approx([60] * 5, abs=5)
    app.server.advance(65)
    assert len(app.runs("together")) == 5


@pytest.mark.changes("group")
def test_task_is_no_entity(app: ContractApp) -> None:
    """A transaction in one entity group can have tasks."""
    app.call("commit", "one group", xg=False)

    assert app.call("has_entity", "one group") is True


@pytest.mark.changes("inside")
def test_independent_transaction_inside_another(app: ContractApp) -> None:
    """A task is added when its own transaction commits, even inside another one."""
    app.call("commit_inside_another", "inside")
    app.server.run_due()

    assert len(app.runs("inside")) == 1


def test_rollback_drops(app: ContractApp) -> None:
    """A transactional task is never queued if its transaction is rolled back."""
    app.call("commit", "never", rollback=True)
    app.server.advance(3600)

    assert app.call("has_entity", "never") is False
    assert app.runs() == []


@pytest.mark.parametrize(
    ("size", "tasks", "options", "error"),
    [
        (1, 6, {}, "JointException"),
        (1, 1, {"_name": "named"}, "InvalidTaskNameError"),
        # the SDK stores it with db, in a transaction of ndb
        (200_000, 1, {}, "AttributeError"),
        pytest.param(
            1,
            1,
            {"_queue": "nowhere"},
            "UnknownQueueError",
            marks=pytest.mark.changes("unknown queue"),
        ),
    ],
    ids=["a sixth task", "a name", "a payload over 100 KB", "a queue"],
)
def test_what_a_transaction_refuses(
    app: ContractApp, size: int, tasks: int, options: dict[str, str], error: str
) -> None:
    """Some tasks cannot be transactional; the whole transaction fails with them."""
    with pytest.raises(CaseError) as refused:
        app.call("commit", "refused", tasks, size, **options)
    app.server.run_due()

    assert refused.value.kind == error
    assert app.call("has_entity", "refused") is False
    assert app.server.tasks() == []
    assert app.runs() == []


def test_large_argument_that_the_transaction_stores(app: ContractApp) -> None:
    """It reaches the function, as docs/troubleshooting.md says."""
    app.call("commit_large", "large", 200_000)
    app.server.run_due()

    assert [run.extra for run in app.runs("large")] == [{"value": "x" * 200_000}]


@pytest.mark.realtime
def test_process_that_ends_after_the_commit(
    app: ContractApp, embedded: Embedded, tasks: str
) -> None:
    """A task whose transaction is committed runs; with Cloud Tasks, after the sweep."""
    body = json.dumps({"case": "commit_and_die", "args": ["orphan"], "options": {}})
    assert embedded.post("/contract/call", body.encode()).status >= 500

    def has_run() -> bool:
        if tasks == "cloud":
            embedded.run_cron("/_ah/cloudtask/sweep")
        embedded.run_due()
        return len(app.runs("orphan")) > 0

    # the SDK leaves a task alone for a minute
    wait_until(has_run, "the task has run", 150, interval=5)
    assert app.call("has_entity", "orphan") is True
    assert len(app.runs("orphan")) == 1
