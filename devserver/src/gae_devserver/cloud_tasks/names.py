"""The names of locations, queues and tasks in requests."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from gae_devserver.rpc.errors import InvalidArgumentError, PermissionDeniedError


class _Form(NamedTuple):
    """What a name must look like; the groups are what it is made of."""

    text: str
    pattern: re.Pattern[str]


_LOCATION = _Form(
    "projects/PROJECT/locations/LOCATION",
    re.compile(r"(projects/([^/]+)/locations/[^/]+)"),
)
_QUEUE = _Form(
    f"{_LOCATION.text}/queues/QUEUE, the last part of letters, digits and hyphens",
    re.compile(_LOCATION.pattern.pattern + r"/queues/([A-Za-z0-9-]{1,100})"),
)
_TASK = _Form(
    f"{_LOCATION.text}/queues/QUEUE/tasks/TASK, "
    "the last part of letters, digits, hyphens, underscores",
    re.compile(_QUEUE.pattern.pattern + r"/tasks/([A-Za-z0-9_-]{1,500})"),
)


@dataclass(frozen=True)
class Location:
    """A location of the project; each has the same queues."""

    name: str

    def queue(self, identifier: str) -> str:
        """Return the name of a queue."""
        return f"{self.name}/queues/{identifier}"


class Names:
    """Reads names, and refuses those of other projects."""

    def __init__(self, project: str) -> None:
        """Accept names of this project."""
        self._project = project

    def location(self, name: str, field: str) -> Location:
        """Return the location that a field of a request names.

        Raises:
            InvalidArgumentError: it is no name of a location.
            PermissionDeniedError: it is in another project.
        """
        match = self._match(_LOCATION, name, field)
        return Location(match[1])

    def queue(self, name: str, field: str) -> tuple[Location, str]:
        """Return the location and the id of the queue that a field names.

        Raises:
            InvalidArgumentError: it is no name of a queue.
            PermissionDeniedError: it is in another project.
        """
        match = self._match(_QUEUE, name, field)
        return Location(match[1]), match[3]

    def task(self, name: str, field: str) -> tuple[Location, str, str]:
        """Return the location, the queue's and the task's id that a field names.

        Raises:
            InvalidArgumentError: it is no name of a task.
            PermissionDeniedError: it is in another project.
        """
        match = self._match(_TASK, name, field)
        return Location(match[1]), match[3], match[4]

    def _match(self, form: _Form, name: str, field: str) -> re.Match[str]:
        match = form.pattern.fullmatch(name)
        if not match:
            raise InvalidArgumentError(
                f"{field} is {name!r}, which does not have the form {form.text}."
            )
        if match[2] == "None":
            raise PermissionDeniedError(
                f"{field} is {name!r}: the client found no GOOGLE_CLOUD_PROJECT. On "
                "Python 3.13 and newer, the App Engine SDK 3.1 adds tasks in threads "
                "that have none. Write runtime: python312, and install that Python"
            )
        if match[2] != self._project:
            raise PermissionDeniedError(
                f"{field} is {name!r}, but this dev server has only the queues of the "
                f"project {self._project!r}. Start it with --project {match[2]}"
            )
        return match
