"""Which route of a deployed version answers what to whom.

That no request here defers a task shows in test_schedule, which runs after these tests.
"""

from tests.routes import FromOutside, Routes
from tests.servers.base import Site


class TestRoutes(Routes, FromOutside):
    """All that no server in front of the app may change."""

    def test_count_is_a_number(self, site: Site) -> None:
        """The page shows the count and nothing else."""
        answer = site.get("/counter/get")

        assert answer.status == 200
        assert answer.text.isdecimal()
