"""Which service a task is for: the target of its queue, its own, or another rule."""

import functools
from collections.abc import Callable
from typing import Any

from gae_devserver.config.service_file import DEFAULT
from gae_devserver.http.routing import Routing
from gae_devserver.tasks.attempts import is_for_app

ServiceOf = Callable[[str | None, Any], str]
"""Returns the service of a task: the target of its queue, a QueryTasksResponse.Task.

"" is that of an HTTP target. Raises UnknownServiceError if the service does not run.
"""

ServiceIn = Callable[[bytes], str]
"""Returns the service that a description of Cloud Tasks names, or ""."""


class Targets:
    """Finds the service of a task, whichever API added it."""

    def __init__(self, routing: Routing, service_in: ServiceIn) -> None:
        """Choose among the services of `routing`."""
        self._routing = routing
        self._service_in = service_in
        # every look at a task needs this, and there are only a few hosts
        self._in_host = functools.lru_cache(maxsize=1024)(self._read_host)

    def service_of(self, target: str | None, task: Any) -> str:
        """Return the service of a task; `target` is that of its queue, which wins.

        Raises:
            UnknownServiceError: it does not run here.
        """
        if not is_for_app(task):
            return ""
        routing = self._routing
        if target:
            return routing.named(target)
        if not task.description:
            return self.in_headers(task) or routing.named(DEFAULT)
        if named := self._service_in(task.description):
            return routing.named(named)
        return routing.for_request("", task.url.decode(errors="replace"))

    def in_headers(self, task: Any) -> str | None:
        """Return the service that the Host header of a task, or of an add, names.

        Raises:
            UnknownServiceError: it does not run here.
        """
        for header in task.header:
            if header.key.lower() == b"host":
                return self._in_host(header.value)
        return None

    def _read_host(self, host: bytes) -> str | None:
        target = self._routing.target_in(host.decode(errors="replace"))
        return self._routing.named(target) if target else None
