"""Which route of a deployed version answers what to whom.

That no request here defers a task shows in test_schedule, which runs after these tests.
"""

import pytest

from tests.routes import HANDLERS, NO_TASK, REMOTE_ADDR, TASK, USER_IP, Headers, Routes
from tests.servers.base import Site

FORGERIES: dict[str, Headers] = {
    "no header": [],
    "a task's name": TASK,
    "an internal User-IP": [*TASK, USER_IP],
    "an internal Remote-Addr": [*TASK, REMOTE_ADDR],
    "both addresses": [*TASK, USER_IP, REMOTE_ADDR],
}


class TestRoutes(Routes):
    """All that no server in front of the app may change."""

    @pytest.mark.parametrize("path", HANDLERS)
    @pytest.mark.parametrize("headers", FORGERIES.values(), ids=FORGERIES)
    def test_only_the_queue_may_run_a_task(
        self, site: Site, path: str, headers: Headers
    ) -> None:
        """A visitor's POST gets 403 in plain text, whatever headers it forges."""
        answer = site.post(path, NO_TASK, headers)

        assert answer.status == 403
        assert answer.content_type == "text/plain"

    def test_count_is_a_number(self, site: Site) -> None:
        """The page shows the count and nothing else."""
        answer = site.get("/counter/get")

        assert answer.status == 200
        assert answer.text.isdecimal()
