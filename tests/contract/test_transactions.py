"""Tasks that are part of a datastore transaction."""

import pytest

from tests.servers.contract_app import CaseError, ContractApp


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
