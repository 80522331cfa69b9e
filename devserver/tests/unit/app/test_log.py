"""What the app tells, on the terminal."""

import asyncio
import io
from pathlib import Path

import pytest

from gae_devserver.activity.activity import Activity
from gae_devserver.app.connect.gae_devserver_log.channel import Channel
from gae_devserver.app.log import AppLog
from gae_devserver.app.process_log import ProcessLog
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.output import Output


@pytest.mark.asyncio
async def test_requests_of_the_server(tmp_path: Path) -> None:
    """Their lines keep no others waiting, though no line says that they have ended."""
    stream, activity = io.StringIO(), Activity()
    requests = RunningRequests(activity=activity)
    log = AppLog(Output(stream, hold_seconds=60))
    log.attach(activity, requests.__contains__, asyncio.get_running_loop())
    requests.on_end(log.end)
    process = ProcessLog(log, tmp_path, "default", "")
    process.listen(tmp_path / "socket")
    channel = Channel(str(tmp_path / "socket"))
    for text in ("first\n", "second\n"):
        ticket = requests.begin("http://localhost/_ah/warmup")
        activity.link(ticket, activity.begin("server", "GET", "/_ah/warmup"))
        channel.send({"ticket": ticket, "text": text})
        requests.end(ticket)
    assert stream.getvalue() == "first\nsecond\n"
    process.close()
