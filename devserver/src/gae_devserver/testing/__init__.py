"""Tools for tests of an app: start the dev server. May import any folder."""

from gae_devserver.testing.dev_server import DevServer, StateApiError, Task
from gae_devserver.testing.requests import Response
from gae_devserver.testing.waiting import wait_until

__all__ = ["DevServer", "Response", "StateApiError", "Task", "wait_until"]
