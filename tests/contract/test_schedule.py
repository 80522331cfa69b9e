"""The documented schedule: 10 at once, 20 after a minute, 30 after two."""

import pytest

from tests.servers.contract_app import ContractApp


def test_documented_schedule(app: ContractApp) -> None:
    """The count goes 0, 10, 20, 30 at 0, 60 and 120 s, not before, and stays."""
    assert app.count() == 0
    app.server.get("/counter/increment")

    for seconds, count in ((0, 10), (50, 10), (15, 20), (45, 20), (15, 30), (3600, 30)):
        app.server.advance(seconds)
        assert app.count() == count
    assert app.server.tasks() == []


def test_schedule_in_one_step(app: ContractApp) -> None:
    """One advance runs all that is due by its end, in the order of the ETAs."""
    app.server.get("/counter/increment")
    app.defer("note", "last", _countdown=90)
    app.defer("note", "first", _countdown=30)

    app.server.advance(130)

    assert app.count() == 30
    assert [run.label for run in app.runs()] == ["first", "last"]


@pytest.mark.parametrize("option", ["_countdown", "_eta_in"])
def test_task_waits_for_its_time(app: ContractApp, option: str) -> None:
    """A countdown or an ETA counts the app's time, whatever passed before the call."""
    app.server.advance(1000)

    app.call("defer", "note", "later", **{option: 60})

    assert app.server.task().due_in == pytest.approx(60, abs=5)
    app.server.advance(50)
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
    """A task may defer tasks; an advance runs those too, each at its own time."""
    app.defer("chain", "link", 3, 10)

    for seconds, runs in ((0, 1), (15, 2), (20, 4)):
        app.server.advance(seconds)
        assert len(app.runs()) == runs
    assert app.server.tasks() == []
