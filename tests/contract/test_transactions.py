"""Tasks that are part of a datastore transaction."""

import pytest

from tests.servers.contract_app import CaseError, ContractApp


def test_commit_enqueues(app: ContractApp) -> None:
    """A transactional task runs once its transaction has committed."""
    app.call("commit", "together")
    app.server.run_due()

    assert app.call("has_entity", "together") is True
    assert len(app.runs("together")) == 1


def test_rollback_drops(app: ContractApp) -> None:
    """A transactional task is never queued when its transaction is rolled back."""
    app.call("roll_back", "never")
    app.server.advance(3600)

    assert app.call("has_entity", "never") is False
    assert app.runs() == []


def test_countdown_in_a_transaction(app: ContractApp) -> None:
    """A transactional task may wait, like any other."""
    app.call("commit", "later", _countdown=60)

    assert app.server.task().due_in == pytest.approx(60, abs=5)
    app.server.advance(65)
    assert len(app.runs("later")) == 1


def test_five_tasks_in_a_transaction(app: ContractApp) -> None:
    """A transaction can hold five tasks, for any queue."""
    app.call("commit", "five", 5, _queue="other")
    app.server.run_due()

    assert len(app.runs("five")) == 5


def test_sixth_task_in_a_transaction(app: ContractApp) -> None:
    """The sixth is refused, and the whole transaction with it."""
    with pytest.raises(CaseError, match="maximum allowed 5"):
        app.call("commit", "six", 6)
    app.server.run_due()

    assert app.call("has_entity", "six") is False
    assert app.runs() == []


def test_name_in_a_transaction(app: ContractApp) -> None:
    """A transactional task can have no name."""
    with pytest.raises(CaseError) as error:
        app.call("commit", "named", _name="named")

    assert error.value.kind == "InvalidTaskNameError"
    assert app.server.tasks() == []


def test_big_payload_in_a_transaction(app: ContractApp) -> None:
    """A payload over 100 KB cannot be deferred in an ndb transaction."""
    with pytest.raises(CaseError):
        app.call("commit_big", 200_000)
    app.server.run_due()

    assert app.call("has_entity", "big") is False
    assert app.runs() == []


def test_outside_a_transaction(app: ContractApp) -> None:
    """A transactional task needs a transaction."""
    with pytest.raises(CaseError) as error:
        app.defer("note", "alone", _transactional=True)

    assert error.value.kind == "BadTransactionStateError"
