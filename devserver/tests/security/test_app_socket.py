"""Only this user's processes can bypass the server."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gae_devserver.testing import DevServer
from tests.helpers.app_folder import make_app
from tests.helpers.sockets import listening_tcp_sockets


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server with an app on gunicorn, started once for all tests."""
    work = tmp_path_factory.mktemp("work")
    with DevServer(make_app(work / "app"), log_file=work / "server.log") as server:
        yield server


def test_only_this_user_can_open_the_socket(server: DevServer) -> None:
    """It is in a folder that other users cannot enter."""
    socket = Path(server.wait_for_log(r"Listening at: unix:(\S+)")[1])
    folder = socket.parent.stat()
    assert folder.st_mode & 0o777 == 0o700
    assert folder.st_uid == os.getuid()
    # the limit is 103 bytes on macOS
    assert len(os.fsencode(socket)) < 100


def test_no_tcp_port_of_the_app(server: DevServer) -> None:
    """The app's processes listen on no TCP port; the server on loopback only."""
    of_server, of_app = listening_tcp_sockets(server.pid)
    assert of_app == []
    # gRPC uses the IPv6 form of 127.0.0.1
    loopback = {"127.0.0.1", "::1", "::ffff:7f00:1"}
    assert {address for address, _ in of_server} <= loopback
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", server.url)
    assert port is not None
    assert ("127.0.0.1", int(port[1])) in of_server
