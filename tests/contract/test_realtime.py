"""The documented schedule in real time."""

import pytest

from tests.realtime import watch_schedule
from tests.servers.contract_app import ContractApp


@pytest.mark.realtime
def test_documented_schedule_in_real_time(
    app: ContractApp, capsys: pytest.CaptureFixture[str]
) -> None:
    """The count goes 0, 10 at once, 20 after 60 s, 30 after 120 s, and then stays."""
    before = watch_schedule(app.server, capsys)

    assert before == 0
    assert app.count() == 30
    assert app.server.tasks() == []
