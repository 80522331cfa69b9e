"""Names of tasks: where a name is unique, and for how long."""

from collections.abc import Callable

import pytest

from tests.servers.contract_app import CaseError, ContractApp

EXISTS = "TaskAlreadyExistsError"
TOMBSTONE = "TombstonedTaskError"


@pytest.mark.parametrize(
    ("meanwhile", "error", "runs"),
    [
        (lambda app: None, EXISTS, 1),
        (lambda app: app.server.advance(65), TOMBSTONE, 1),
        (lambda app: app.call("purge", "default"), TOMBSTONE, 0),
        (lambda app: app.call("delete", "default", "once"), TOMBSTONE, 0),
    ],
    ids=["waits", "has run", "was purged", "was deleted"],
)
def test_name_stays_taken(
    app: ContractApp, meanwhile: Callable[[ContractApp], object], error: str, runs: int
) -> None:
    """A name cannot be used again, whatever became of its task."""
    app.defer("note", "first", _name="once", _countdown=60)
    meanwhile(app)

    with pytest.raises(CaseError) as refused:
        app.defer("note", "second", _name="once")

    assert refused.value.kind == error
    app.server.advance(65)
    assert [run.label for run in app.runs()] == ["first"] * runs


def test_name_belongs_to_its_queue(app: ContractApp) -> None:
    """Two queues can each have a task of the same name."""
    app.defer("note", "here", _name="twice", _countdown=60)
    app.defer("note", "there", _name="twice", _countdown=60, _queue="other")

    app.server.advance(65)

    queues = {run.label: run.headers["queuename"] for run in app.runs()}
    assert queues == {"here": "default", "there": "other"}


def test_names_are_chosen_if_none_is_given(app: ContractApp) -> None:
    """Tasks without a name get one each, which the task itself can read."""
    names = [app.defer("note", "unnamed") for _ in range(3)]
    app.server.run_due()

    assert len(set(names)) == 3
    assert sorted(run.headers["taskname"] for run in app.runs()) == sorted(names)
