"""Names of tasks: what one name stands for, and for how long."""

import pytest

from tests.servers.contract_app import CaseError, ContractApp


def test_name_that_is_queued_is_taken(app: ContractApp) -> None:
    """A second task of the same name is refused while the first one waits."""
    app.defer("note", "first", _name="once", _countdown=60)

    with pytest.raises(CaseError) as error:
        app.defer("note", "second", _name="once")

    assert error.value.kind == "TaskAlreadyExistsError"
    app.server.advance(65)
    assert [run.label for run in app.runs()] == ["first"]


def test_name_stays_taken_after_the_run(app: ContractApp) -> None:
    """A name leaves a tombstone: it cannot be used again when its task has run."""
    app.defer("note", "first", _name="once")
    app.server.run_due()

    with pytest.raises(CaseError) as error:
        app.defer("note", "second", _name="once")

    assert error.value.kind == "TombstonedTaskError"
    app.server.run_due()
    assert [run.label for run in app.runs()] == ["first"]


def test_name_stays_taken_after_a_purge(app: ContractApp) -> None:
    """Purging a queue drops its tasks and keeps their names."""
    app.defer("note", "first", _name="once", _countdown=60)
    app.call("purge", "default")

    with pytest.raises(CaseError) as error:
        app.defer("note", "second", _name="once")

    assert error.value.kind == "TombstonedTaskError"
    app.server.advance(65)
    assert app.runs() == []


def test_name_stays_taken_after_a_deletion(app: ContractApp) -> None:
    """A task can be deleted by its name, which stays taken."""
    app.defer("note", "first", _name="once", _countdown=60)
    assert app.call("delete", "default", "once") is True

    with pytest.raises(CaseError) as error:
        app.defer("note", "second", _name="once")

    assert error.value.kind == "TombstonedTaskError"
    app.server.advance(65)
    assert app.runs() == []


def test_name_is_its_queues_own(app: ContractApp) -> None:
    """Two queues can each have a task of the same name."""
    app.defer("note", "here", _name="twice", _countdown=60)
    app.defer("note", "there", _name="twice", _countdown=60, _queue="other")

    app.server.advance(65)

    assert {run.label for run in app.runs()} == {"here", "there"}


def test_names_are_chosen_when_none_is_given(app: ContractApp) -> None:
    """Tasks without a name get one each, which the task itself can read."""
    names = [app.defer("note", "unnamed") for _ in range(3)]
    app.server.run_due()

    assert len(set(names)) == 3
    assert sorted(run.headers["taskname"] for run in app.runs()) == sorted(names)
