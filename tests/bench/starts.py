"""Time the starts of the servers, from the command to the first answer."""

import functools
import http.client
import pathlib
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from gae_devserver.testing import wait_until
from gae_devserver.testing.requests import send
from gae_devserver.testing.server_process import ServerProcess
from google.cloud.datastore_v1.types import datastore as datastore_pb
from google.cloud.datastore_v1.types import entity as entity_pb

from tests.bench.rows import DEV_APPSERVER, EMULATOR, HERE, Results
from tests.bench.servers import PROJECT, stage
from tests.servers.datastore_emulator import DatastoreEmulator
from tests.servers.leashed import Leashed
from tools import dev_appserver

START_SECONDS = 120.0
POLL_SECONDS = 0.005


@contextmanager
def _command(side: str, app: str, port: int, *options: str) -> Iterator[float]:
    """Run a dev server as a user does, but on a known port; yield when it started."""
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        staged, log = stage(app, work), work / "server.log"
        server: ServerProcess | Leashed
        if side == HERE:
            own = ("--no-pyproject", "--console-port=0", f"--python={sys.executable}")
            command = [str(staged), *own, f"--port={port}", *options]
            began = time.perf_counter()
            server = ServerProcess(command, log)
        else:
            # not by the module's command line, which takes 0.2 s of its own
            with dev_appserver.kept_venv() as venv:
                variables = dev_appserver.environment(venv).items()
                only = ["env", "-i", *(f"{name}={value}" for name, value in variables)]
                places = {"venv": venv, "storage": work}
                command = dev_appserver.command(staged, port=port, **places)
                began = time.perf_counter()
                server = Leashed([*only, *command], log)
        try:
            yield began
        finally:
            server.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def seconds_to_200(side: str, app: str, *options: str) -> float:
    """Return the seconds from a server's command to the app's first answer.

    The request is sent again and again until it succeeds: at first no port is open, and
    a server may answer with an error before its app is ready.
    """
    port = _free_port()

    def answers() -> bool:
        try:
            answer = send(f"http://127.0.0.1:{port}", "GET", "/counter/get")
        except (OSError, http.client.HTTPException):
            return False
        return (answer.status, answer.text) == (200, "0")

    with _command(side, app, port, *options) as began:
        wait_until(answers, "the app answers", START_SECONDS, POLL_SECONDS)
        return time.perf_counter() - began


def seconds_to_lookup(side: str, app: str) -> float:
    """Return the seconds from a server's command to the datastore's first answer.

    On the dev server, that may be before its app is ready.
    """
    if side == HERE:
        port = _free_port()
        with _command(side, app, 0, f"--grpc-port={port}") as began:
            first_lookup(f"127.0.0.1:{port}")
            return time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        emulator = DatastoreEmulator(pathlib.Path(folder))
        try:
            first_lookup(emulator.host)
            return time.perf_counter() - began
        finally:
            emulator.stop()


def first_lookup(host: str) -> None:
    """Return once a datastore has answered a Lookup over gRPC."""
    name, port = host.split(":")
    key = entity_pb.Key(path=[{"kind": "Bench", "name": "x"}])
    request = datastore_pb.LookupRequest(project_id=PROJECT, keys=[key])
    data = datastore_pb.LookupRequest.serialize(request)

    def answers() -> bool:
        try:
            # a channel costs more than this; many of them would slow down the start
            socket.create_connection((name, int(port))).close()
        except OSError:
            return False
        # with a shared subchannel, gRPC would wait a second after a failure
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(host, options) as channel:
            lookup: Any = channel.unary_unary("/google.datastore.v1.Datastore/Lookup")
            try:
                lookup(data, timeout=START_SECONDS)
            except grpc.RpcError:
                return False
        return True

    wait_until(answers, "the datastore answers", START_SECONDS, POLL_SECONDS)


def measure_starts(sides: list[str], app: str, runs: int, results: Results) -> None:
    """Measure the starts of the servers, each with nothing else running."""
    for row, seconds, rival in (
        ("start to the first 200", seconds_to_200, DEV_APPSERVER),
        ("start to the first Lookup", seconds_to_lookup, EMULATOR),
    ):
        ways = {
            side: functools.partial(seconds, side, app)
            for side in (HERE, rival)
            if side in sides
        }
        for start_once in ways.values():
            start_once()  # compiles modules
        for run in range(runs):
            results.measure(row, run, ways)
