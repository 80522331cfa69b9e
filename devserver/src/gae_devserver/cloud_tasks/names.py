"""The names of locations, queues and tasks in requests."""

import re
from dataclasses import dataclass

from gae_devserver.rpc.errors import InvalidArgumentError, PermissionDeniedError

_LOCATION = re.compile(r"projects/([^/]+)/locations/([^/]+)")
_QUEUE_ID = re.compile(r"[A-Za-z0-9-]{1,100}")
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")


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
        if not (match := _LOCATION.fullmatch(name)):
            raise _invalid(name, field, "projects/PROJECT/locations/LOCATION")
        if match[1] == "None":
            raise PermissionDeniedError(
                f"{field} is {name!r}: the client found no GOOGLE_CLOUD_PROJECT. On "
                "Python 3.13 and newer, the App Engine SDK 3.1 adds tasks in threads "
                "that have none. Use runtime: python312"
            )
        if match[1] != self._project:
            raise PermissionDeniedError(
                f"{field} is {name!r}, but this dev server has only the queues of the "
                f"project {self._project!r}. Start it with --project {match[1]}"
            )
        return Location(name)

    def queue(self, name: str, field: str) -> tuple[Location, str]:
        """Return the location and the id of the queue that a field names.

        Raises:
            InvalidArgumentError: it is no name of a queue.
            PermissionDeniedError: it is in another project.
        """
        location, _, identifier = name.rpartition("/queues/")
        if not (location and _QUEUE_ID.fullmatch(identifier)):
            form = "projects/PROJECT/locations/LOCATION/queues/QUEUE"
            raise _invalid(name, field, form, "letters, digits and hyphens")
        return self.location(location, field), identifier

    def task(self, name: str, field: str) -> tuple[Location, str, str]:
        """Return the location, the queue's and the task's id that a field names.

        Raises:
            InvalidArgumentError: it is no name of a task.
            PermissionDeniedError: it is in another project.
        """
        queue, _, identifier = name.rpartition("/tasks/")
        if not (queue and _TASK_ID.fullmatch(identifier)):
            form = "projects/PROJECT/locations/LOCATION/queues/QUEUE/tasks/TASK"
            raise _invalid(name, field, form, "letters, digits, hyphens, underscores")
        return *self.queue(queue, field), identifier


def _invalid(
    name: str, field: str, form: str, characters: str = ""
) -> InvalidArgumentError:
    of = f", the last part of {characters}" if characters else ""
    return InvalidArgumentError(
        f"{field} is {name!r}, which does not have the form {form}{of}."
    )
