"""The documented schedule on a deployed version, in real time."""

import pytest

from tests.realtime import watch_schedule
from tests.servers.base import Site


@pytest.mark.realtime
def test_documented_schedule(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """10 are added at once, 20 after 60 s, 30 after 120 s, and then no more.

    The count may be any number before: the version may have been tested already.
    """
    watch_schedule(site, capsys)
