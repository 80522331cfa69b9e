"""A folder for a storage, and servers that use it one after the other."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, Server


class Starts:
    """Starts servers on one storage; each start kills the server before it."""

    storage: Storage
    """The storage of the last server."""
    db: sqlite3.Connection | None = None
    """The database of the last server."""

    def __init__(self, folder: Path, make_server: Callable[..., Server]) -> None:
        self._folder = folder
        self._make_server = make_server

    def __call__(
        self, *queues: QueueConfig, ago: float = 0.0, **options: Any
    ) -> Server:
        """Start a server, for which it is `ago` seconds earlier."""
        self.kill()
        self.storage = Storage(
            self._folder,
            PROJECT,
            connect=self._connect,
            now=lambda: time.time() - ago,
        )
        return self._make_server(*queues, storage=self.storage, **options)

    def _connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        self.db = sqlite3.connect(*args, **options)
        return self.db

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Change the database, or how SQLite uses it, behind the server's back."""
        assert self.db
        return self.db.execute(statement, values).fetchall()

    def kill(self) -> None:
        """End the last server, which can write nothing more."""
        if self.db:
            self.db.close()
            self.storage.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the storage is."""
    return tmp_path / "storage"


@pytest.fixture
def start(make_server: Callable[..., Server], folder: Path) -> Iterator[Starts]:
    """Start servers on the storage."""
    start = Starts(folder, make_server)
    yield start
    start.kill()
