"""What a test posts in the name of the task queue: payloads and headers."""

import os
import pathlib
import pickle

FROM_QUEUE = {
    "Content-Type": "application/octet-stream",
    "X-AppEngine-QueueName": "default",
    "X-AppEngine-TaskName": "task1",
    "X-AppEngine-TaskRetryCount": "3",
    "X-AppEngine-User-IP": "0.1.0.2",
}
"""The headers of a task, as App Engine sends them."""


def without(*names: str, **more: str) -> dict[str, str]:
    """Return the headers of a task without some, and with others (_ stands for -)."""
    headers = {name: value for name, value in FROM_QUEUE.items() if name not in names}
    return headers | {name.replace("_", "-"): value for name, value in more.items()}


def call(function: str) -> bytes:
    """Return the payload of a task that calls a function of staged_tasks.

    Written by hand, for this process cannot import the module beside the staged app:
    the pickle of the tuple (function, (), {}), protocol 0.
    """
    return f"(cstaged_tasks\n{function}\n(t(dt.".encode()


class MakesFolder:
    """An object that makes a folder while it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        """Choose the folder."""
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        """Have the folder made by whoever loads the pickle."""
        return os.mkdir, (str(self.path),)


def trap(path: pathlib.Path) -> bytes:
    """Return a payload that makes a folder as soon as it is unpickled."""
    return pickle.dumps(MakesFolder(path), protocol=0)
