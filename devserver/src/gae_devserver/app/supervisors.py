"""The supervisors of all services, by the names of these."""

from collections.abc import Collection, Mapping

from gae_devserver.app.process import AppProcess
from gae_devserver.app.supervisor import Supervisor


class Supervisors:
    """What the task runner asks about the services."""

    def __init__(self, by_service: Mapping[str, Supervisor]) -> None:
        """Answer for these services."""
        self._by_service = by_service

    @property
    def services(self) -> Collection[str]:
        """The services that run."""
        return self._by_service.keys()

    def is_ready(self, service: str) -> bool:
        """Return whether a process of a service is ready."""
        return self._by_service[service].is_ready

    async def process(self, service: str) -> AppProcess:
        """Return the process that is ready; wait for it while it starts.

        Raises:
            AppUnavailable: it has died.
        """
        return await self._by_service[service].process()
