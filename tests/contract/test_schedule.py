"""The documented schedule: 10 at once, 20 after a minute, 30 after two."""

import pytest

from tests.servers.contract_app import ContractApp


def test_documented_schedule(app: ContractApp) -> None:
    """The count goes 0, 10, 20, 30 at 0, 60 and 120 s, not before, and stays."""
    assert app.count() == 0

    app.server.get("/counter/increment")
    app.server.run_due()
    assert app.count() == 10

    app.server.advance(50)
    assert app.count() == 10

    app.server.advance(15)
    assert app.count() == 20

    app.server.advance(45)
    assert app.count() == 20

    app.server.advance(15)
    assert app.count() == 30

    app.server.advance(3600)
    assert app.count() == 30
    assert app.server.tasks() == []


def test_schedule_in_one_step(app: ContractApp) -> None:
    """Time that passes at once runs all that is due in it, in the order of the ETAs."""
    app.server.get("/counter/increment")
    app.defer("note", "last", _countdown=90)
    app.defer("note", "first", _countdown=30)

    app.server.advance(130)

    assert app.count() == 30
    assert [run.label for run in app.runs()] == ["first", "last"]


def test_schedules_add_up(app: ContractApp) -> None:
    """A second call of the page adds its own three tasks."""
    app.server.get("/counter/increment")
    app.server.advance(65)
    assert app.count() == 20

    app.server.get("/counter/increment")
    app.server.run_due()
    assert app.count() == 30

    app.server.advance(65)
    assert app.count() == 50

    app.server.advance(65)
    assert app.count() == 60


def test_countdown_starts_when_the_task_is_added(app: ContractApp) -> None:
    """A countdown counts the app's time from the call, whatever passed before."""
    app.server.advance(1000)

    app.defer("note", "later", _countdown=60)

    assert app.server.task().due_in == pytest.approx(60, abs=5)
    app.server.advance(50)
    assert app.runs() == []
    app.server.advance(15)
    assert len(app.runs()) == 1


def test_eta_is_a_point_in_time(app: ContractApp) -> None:
    """A task with an ETA waits until then."""
    app.call("defer", "note", "later", _eta_in=600)

    assert app.server.task().due_in == pytest.approx(600, abs=5)
    app.server.advance(590)
    assert app.runs() == []
    app.server.advance(15)
    assert len(app.runs()) == 1


def test_past_eta_is_due_now(app: ContractApp) -> None:
    """A task whose ETA has passed already runs at once."""
    app.call("defer", "note", "late", _eta_in=-600)
    app.server.run_due()

    assert len(app.runs()) == 1


@pytest.mark.differs("clock in headers")
def test_eta_header_is_the_apps_time(app: ContractApp) -> None:
    """X-AppEngine-TaskETA can be compared with the time that the app reads."""
    app.defer("note", "later", _countdown=60)
    app.server.advance(65)

    (run,) = app.runs()
    assert float(run.headers["tasketa"]) == pytest.approx(run.time, abs=5)


def test_task_that_defers_another(app: ContractApp) -> None:
    """A task may defer tasks, and time that passes runs those too, each at its own."""
    app.defer("chain", "link", 3, 10)
    app.server.run_due()
    assert len(app.runs()) == 1

    app.server.advance(15)
    assert len(app.runs()) == 2

    app.server.advance(20)
    assert len(app.runs()) == 4
    assert app.server.tasks() == []
