"""The faults themselves: each does what it says, as often as it is told."""

import asyncio
import os
import re
from collections.abc import Awaitable, Sequence
from pathlib import Path

import grpc
import pytest
from google.appengine.runtime import apiproxy_errors

from gae_devserver import faults as faults_module
from gae_devserver.app.process import AppProcess
from gae_devserver.faults import NAMES, Faults
from tests.helpers.calls import Server, reference
from tests.helpers.datastore_v1 import RawClient, entity, key
from tests.helpers.running_datastore import RunningDatastore

README = Path(__file__).parents[2] / "README.md"
HEADERS = [("X-Appengine-Taskname", "a")]


class App:
    """Counts the tasks that arrive, and answers 200."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.at_once = 0
        self._running = 0

    async def dispatch(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        deadline: float,
    ) -> int:
        """Take one task (`gae_devserver.tasks.runner.Dispatch`)."""
        self.deliveries += 1
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        await asyncio.sleep(0)
        self._running -= 1
        return 200


async def no_process() -> AppProcess:
    """Stand for an app that no test here asks for."""
    raise AssertionError


def send(faults: Faults, app: App) -> Awaitable[int]:
    """Send one task with faults."""
    dispatch = faults.in_tasks(app.dispatch, no_process)
    return dispatch("POST", "/", HEADERS, b"", deadline=1.0)


def test_the_specification_is_read() -> None:
    """Rates and seed come from the option, and are shown in the same form."""
    faults = Faults.parse("twice=0.1,kill=1,seed=7")

    assert (faults.rates, faults.seed) == ({"twice": 0.1, "kill": 1.0}, 7)
    assert str(faults) == "twice=0.1,kill=1,seed=7"


def test_a_seed_is_drawn() -> None:
    """Without a seed each run has other faults, and shows how to repeat them."""
    one, two = (Faults.parse("lost=0.5") for _ in range(2))

    assert one.seed != two.seed
    assert Faults.parse(str(one)).seed == one.seed


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        ("twice", "'twice'"),
        ("twice=often", "'twice=often'"),
        ("fire=0.1", "'fire'"),
        ("lost=2", "'lost=2'"),
        ("lost=nan", "'lost=nan'"),
        ("lost=0.1,seed=x", "'seed=x'"),
    ],
)
def test_a_mistake_in_it(text: str, named: str) -> None:
    """What cannot be understood is named."""
    with pytest.raises(ValueError, match=named):
        Faults.parse(text)


@pytest.mark.asyncio
async def test_none() -> None:
    """Without rates a task goes through as it is."""
    app = App()

    assert [await send(Faults({}, 1), app) for _ in range(20)] == [200] * 20
    assert app.deliveries == 20


@pytest.mark.asyncio
async def test_twice() -> None:
    """A task arrives twice, sometimes at once and sometimes one after the other."""
    at_once = set()
    faults = Faults({"twice": 1.0}, 1)
    for _ in range(20):
        app = App()
        assert await send(faults, app) == 200
        assert app.deliveries == 2
        at_once.add(app.at_once)
    assert at_once == {1, 2}


@pytest.mark.asyncio
async def test_lost() -> None:
    """The app has done the work; the queue hears nothing of it."""
    app = App()

    with pytest.raises(ConnectionError, match="the answer was lost"):
        await send(Faults({"lost": 1.0}, 1), app)
    assert app.deliveries == 1


@pytest.mark.asyncio
async def test_error() -> None:
    """The queue hears of a 500, and the app of nothing."""
    app = App()

    assert await send(Faults({"error": 1.0}, 1), app) == 500
    assert app.deliveries == 0


@pytest.mark.asyncio
async def test_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes late, after the work."""
    monkeypatch.setattr(faults_module, "_SLOW_SECONDS", 0.2)
    app, loop = App(), asyncio.get_running_loop()
    faults, began = Faults({"slow": 1.0}, 1), loop.time()

    assert [await send(faults, app) for _ in range(5)] == [200] * 5
    assert loop.time() - began > 0.05


@pytest.mark.asyncio
async def test_as_often_as_told_and_the_same_again() -> None:
    """The seed alone chooses which tasks have a fault."""

    async def outcomes(seed: int) -> list[int]:
        faults = Faults({"error": 0.2}, seed)
        return [await send(faults, App()) for _ in range(500)]

    first = await outcomes(7)
    assert 60 < first.count(500) < 140
    assert await outcomes(7) == first
    assert await outcomes(8) != first


@pytest.mark.asyncio
async def test_rpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API call has done its work when the app hears that it failed."""
    from google.appengine.api import apiproxy_stub_map

    monkeypatch.setattr(apiproxy_stub_map, "apiproxy", apiproxy_stub_map.apiproxy)
    for name in ("APPLICATION_ID", "AUTH_DOMAIN"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    server = Server()
    api = server.request()
    faults = Faults({"rpc": 1.0}, 1)
    faults.in_api_calls(server.services)
    with pytest.raises(apiproxy_errors.RPCFailedError, match="was lost"):
        await api.put(reference("Counter", "x"), 5)

    faults.rates["rpc"] = 0.0
    assert await api.get(reference("Counter", "x")) == 5
    server.services.close()


def test_rpc_of_cloud_ndb() -> None:
    """An RPC has done its work when the client hears that it failed."""
    faults = Faults({"rpc": 1.0}, 1)
    running = RunningDatastore(before_answer=faults.in_rpc)
    raw = RawClient(running.host)
    try:
        put = {"upsert": entity(key("Counter", "x"), count=5)}
        code, text = raw.error("Commit", mode=2, mutations=[put])
        assert code == grpc.StatusCode.UNAVAILABLE
        assert "Commit" in text

        faults.rates["rpc"] = 0.0
        (found,) = raw.call("Lookup", keys=[key("Counter", "x")]).found
        assert found.entity.properties["count"].integer_value == 5
    finally:
        raw.close()
        running.stop()


def test_every_fault_is_documented() -> None:
    """The README's table has each fault, and no others."""
    text = README.read_text().partition("## Faults on purpose")[2].partition("\n## ")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(NAMES)
