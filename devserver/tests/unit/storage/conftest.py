"""A folder for a storage, and servers that use it one after the other."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gae_devserver.config.queue_yaml import QueueConfig
from gae_devserver.storage.storage import (
    Storage,
)
from tests.helpers.calls import (
    PROJECT,
    Server,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the storage is."""
    return tmp_path / "storage"


@pytest_asyncio.fixture
async def start(
    make_server: Callable[..., Server], folder: Path
) -> AsyncIterator[Callable[..., Server]]:
    """Start a server on the storage; the one before ends first."""
    opened: list[Storage] = []

    def start(*queues: QueueConfig, **options: Any) -> Server:
        for storage in opened:
            storage._file.close()  # no flush: as if it had been killed
        opened[:] = [Storage(folder, PROJECT)]
        return make_server(*queues, storage=opened[0], **options)

    yield start
    for storage in opened:
        storage._file.close()
