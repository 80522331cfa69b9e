"""Each fault does what it says, as often as it is told."""

import re
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.appengine.runtime import apiproxy_errors
from multidict import CIMultiDict

from gae_devserver.app.client import Request
from gae_devserver.app.process import AppProcess
from gae_devserver.faults import NAMES, Faults
from gae_devserver.services import rpc_table
from tests.helpers.calls import Server, reference
from tests.helpers.clock import StoppedClock
from tests.helpers.datastore_v1 import RawClient, entity, key
from tests.helpers.recording_app import App
from tests.helpers.running_datastore import RunningDatastore

README = Path(__file__).parents[2] / "README.md"


async def no_process(request: Request) -> AppProcess:
    """Replace the app's process, which no test needs."""
    raise AssertionError


async def send(faults: Faults, app: App) -> int:
    """Send one task with faults."""
    dispatch = faults.in_tasks(app.dispatch, no_process)
    headers = CIMultiDict({"X-Appengine-Taskname": "a"})
    return await dispatch(Request("POST", "/", headers, b""), 1.0)


def test_the_specification_is_shown() -> None:
    """A seed that is missing is drawn, and shown so that the run can be repeated."""
    text = "twice=0.1,kill=1,seed=7"
    assert str(Faults.parse(text)) == text
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
    """The message names the part that is wrong."""
    with pytest.raises(ValueError, match=named):
        Faults.parse(text)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("rates", "status", "deliveries"),
    [({}, 200, 1), ({"error": 1.0}, 500, 0), ({"twice": 1.0}, 200, 2)],
)
async def test_what_the_queue_and_the_app_see(
    app: App, rates: dict[str, float], status: int, deliveries: int
) -> None:
    """`error`: the app gets nothing. `twice`: it gets two, the queue knows of one."""
    assert await send(Faults(rates, 1), app) == status
    assert len(app.executions) == deliveries


@pytest.mark.asyncio
async def test_twice_comes_in_two_ways(clock: StoppedClock) -> None:
    """A task arrives twice at once, or a second time after the first."""
    faults = Faults({"twice": 1.0}, 1)
    apps = [App(clock) for _ in range(20)]
    for app in apps:
        await send(faults, app)
    assert {app.peak for app in apps} == {1, 2}


@pytest.mark.asyncio
async def test_lost(app: App) -> None:
    """The app does the work, but the queue gets no answer."""
    with pytest.raises(ConnectionError, match="the answer was lost"):
        await send(Faults({"lost": 1.0}, 1), app)
    assert len(app.executions) == 1


@pytest.mark.asyncio
async def test_slow(app: App) -> None:
    """The answer comes late, after the work, by up to two seconds."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert len(app.executions) == len(slept)

    faults = Faults({"slow": 1.0}, 1, sleep=sleep)
    assert [await send(faults, app) for _ in range(9)] == [200] * 9
    assert 1.0 < max(slept) <= 2.0


@pytest.mark.asyncio
async def test_as_often_as_told_and_the_same_again(app: App) -> None:
    """The seed alone decides which tasks have a fault."""

    async def outcomes(seed: int) -> list[int]:
        faults = Faults({"error": 0.2}, seed)
        return [await send(faults, app) for _ in range(500)]

    first = await outcomes(7)
    assert 60 < first.count(500) < 140
    assert await outcomes(7) == first
    assert await outcomes(8) != first


@pytest.mark.asyncio
async def test_rpc(make_server: Callable[..., Server]) -> None:
    """An API call does its work, but the app gets an error."""
    server = make_server()
    request = server.request()
    message_class, _ = rpc_table.message_classes("datastore_v3", "Delete")
    counter = await request.put(reference("Counter", "x"), 5)
    call = Faults({}).in_api_calls(server.services.call)
    call = Faults({"rpc": 1.0}).in_api_calls(call)
    data = message_class(key=[counter]).SerializeToString()
    with pytest.raises(apiproxy_errors.RPCFailedError, match="was lost"):
        await call("datastore_v3", "Delete", data, request.ticket)
    assert await request.get(counter) is None


def test_rpc_of_cloud_ndb() -> None:
    """An RPC does its work, but the client gets an error."""

    def before_answer(rpc: str) -> None:
        Faults({"rpc": 1.0 if rpc == "Datastore.Commit" else 0.0}).in_rpc(rpc)

    running = RunningDatastore(before_answer=before_answer)
    raw = RawClient(running.host)
    counter = key("Counter", "x")
    try:
        put = {"upsert": entity(counter, count=5)}
        code, text = raw.error("Commit", mode=2, mutations=[put])
        assert code == grpc.StatusCode.UNAVAILABLE
        assert "Commit" in text
        (found,) = raw.call("Lookup", keys=[counter]).found
        assert found.entity.properties["count"].integer_value == 5
    finally:
        raw.close()
        running.stop()


def test_every_fault_is_documented() -> None:
    """The README's table has each fault, and no others."""
    text = README.read_text().partition("## Faults on purpose")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(NAMES)
