"""Tools for tests of an app: start the dev server. May import any folder."""

from gae_devserver.testing.dev_server import DevServer
from gae_devserver.testing.requests import Response
from gae_devserver.testing.server_process import ServerEndedError
from gae_devserver.testing.service import Service
from gae_devserver.testing.state import (
    Attachment,
    Blob,
    Entity,
    Failure,
    Index,
    Mail,
    StateApiError,
    Task,
    TaskRun,
)
from gae_devserver.testing.waiting import wait_until

__all__ = [
    "Attachment",
    "Blob",
    "DevServer",
    "Entity",
    "Failure",
    "Index",
    "Mail",
    "Response",
    "ServerEndedError",
    "Service",
    "StateApiError",
    "Task",
    "TaskRun",
    "wait_until",
]
