"""Which tasks this server can send: those for the service that it runs."""

from dataclasses import dataclass
from typing import Any

from gae_devserver.rpc.errors import InvalidArgumentError

_DEFAULT = "default"


@dataclass(frozen=True)
class Routing:
    """The app that the server runs."""

    project: str
    hostname: str
    """The "host:port" of the app."""
    service: str
    version: str

    def check(self, task: Any, target: str | None) -> None:
        """Refuse an App Engine target that does not run here.

        `target` is that of the queue, which replaces the one of the task. The version
        may be another: that of the app when it made the task.

        Raises:
            InvalidArgumentError: it is another service.
        """
        if not task.HasField("app_engine_http_request"):
            return
        routing = task.app_engine_http_request.app_engine_routing
        service = (target or "").rpartition(".")[2] or routing.service or _DEFAULT
        if service not in (self.service, self.version):
            raise InvalidArgumentError(
                f"the task is for the service {service!r}, but this dev server runs "
                f"only the service {self.service!r}. Set service in the task's "
                "app_engine_routing."
            )
