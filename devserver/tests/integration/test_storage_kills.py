"""A server that was killed at any point has stored all that it acknowledged."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gae_devserver.storage.storage import Storage
from tests.helpers.calls import PROJECT, AppRequest, Server, reference
from tests.integration.storage_victims import ENTITIES

FOLDER = Path(__file__).resolve().parents[2]
"""The folder in which Python finds `tests`."""


@pytest.fixture
def reopen(sdk_state: None) -> Iterator[Callable[[Path], AppRequest]]:
    """Open a storage as the next start of a killed server does."""
    servers: list[Server] = []

    def reopen(folder: Path) -> AppRequest:
        servers.append(Server(storage=Storage(folder, PROJECT)))
        return servers[-1].request()

    yield reopen
    for server in servers:
        server.services.close()


def killed_at_each_point(what: str, folder: Path) -> list[Path]:
    """Kill a victim at one point after another; return the folders that it left."""
    folder.mkdir()
    victim = [sys.executable, "-m", "tests.integration.storage_victims", what]
    subprocess.run([*victim, str(folder)], cwd=FOLDER, check=True, timeout=120)
    *killed, survivor = sorted(folder.iterdir(), key=lambda path: int(path.name))
    assert survivor.exists()
    return killed


@pytest.mark.asyncio
async def test_all_of_a_transaction_or_nothing(
    reopen: Callable[[Path], AppRequest], tmp_path: Path
) -> None:
    """Killed at any point of a commit, the server has all of it or nothing.

    It has all of it from the end of its last SQL statement on, so whenever it has
    answered.
    """
    complete = []
    for folder in killed_at_each_point("commit", tmp_path / "commit"):
        api = reopen(folder)
        counts = [await api.get(reference("Counter", name)) for name in ENTITIES]
        state = [*counts, len(await api.tasks())]
        assert state in ([1, 1, None, 0], [None, 2, 2, 2]), folder
        complete.append(state[-1] == 2)
        assert complete[-1] or not (folder / "answered").exists()
    assert len(complete) > 8
    assert complete == [False] * (len(complete) - 2) + [True] * 2


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Killed at any point of its first start, a server leaves what can be opened."""
    folders = killed_at_each_point("open", tmp_path / "open")
    assert len(folders) > 10
    for folder in folders:
        storage = Storage(folder, PROJECT)
        assert list(storage.tasks()) == []
        storage.close()
