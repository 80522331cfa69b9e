"""An app that uses both NDB libraries in its requests: the server has one store."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gae_devserver.testing import DevServer
from tests.helpers.app_folder import copy_app


def test_both_libraries_count_on_one_counter(tmp_path: Path) -> None:
    """Each sees what the other writes, also in concurrent transactions."""
    app = copy_app("two_libraries", tmp_path)
    with DevServer(app, log_file=tmp_path / "server.log") as server:

        def add(library: str) -> int:
            answer = server.get(f"/{library}")
            assert answer.status == 200, server.log()[-3000:]
            return int(answer.body)

        with ThreadPoolExecutor(8) as pool:
            counts = list(pool.map(add, ("bundled", "cloud") * 20))
    assert sorted(counts) == list(range(1, 41))
