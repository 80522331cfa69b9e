"""Which tasks this server can send: those for the service that it runs."""

from dataclasses import dataclass
from typing import Any

_DEFAULT = "default"


@dataclass(frozen=True)
class Routing:
    """The app that the server runs."""

    project: str
    service: str
    version: str

    def check(self, routing: Any, target: str | None) -> None:
        """Check that an App Engine target runs here.

        `routing` is an AppEngineRouting. `target` is that of the queue, which replaces
        it. The version may be another: that of the app when it made the task.

        Raises:
            ConnectionError: it is another service.
        """
        service = (target or "").rpartition(".")[2] or routing.service or _DEFAULT
        if service not in (self.service, self.version):
            raise ConnectionError(
                f"not sent, because it is for the service {service!r}, and this dev "
                f"server runs only {self.service!r}"
            )
