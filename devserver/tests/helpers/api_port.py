"""An API server on a port of its own, and ways to call it."""

import io
import secrets
import socket

import aiohttp
from google.appengine.ext.remote_api import remote_api_bytes_pb2 as remote_api

from gae_devserver.cloud_tasks.identity import Identity
from gae_devserver.cloud_tasks.rest import Rest
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.http.server import TOKEN_HEADER
from gae_devserver.services.api_server import ApiServer
from gae_devserver.services.metadata import Metadata
from tests.helpers.calls import Message, Server, app_config


class ApiPort:
    """The services behind a port."""

    def __init__(self, server: Server, *configs: AppConfig) -> None:
        self.server = server
        self.token = secrets.token_hex(16)
        self.identity = Identity()
        self.api_server = ApiServer(
            server.services.call,
            server.requests,
            configs or [app_config()],
            self.token,
            Metadata("sample-project"),
            self.identity,
            Rest({}),
        )
        self.ticket = server.request().ticket
        """The ticket of a request that lasts as long as the port."""

    async def start(self) -> None:
        """Serve."""
        sock = socket.create_server(("127.0.0.1", 0))
        self.number = sock.getsockname()[1]
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{self.number}")
        await self.api_server.start(sock)

    async def stop(self) -> None:
        """Close the port."""
        await self.session.close()
        await self.api_server.stop()

    async def post(self, body: bytes, token: str | None = None) -> Message:
        """Send bytes; return the Response message."""
        # aiohttp warns of large bodies that are not files.
        data = io.BytesIO(body)
        headers = {} if token is None else {TOKEN_HEADER: token}
        async with self.session.post("/rpc_http", data=data, headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/octet-stream"
            return remote_api.Response.FromString(await answer.read())

    async def ask(
        self,
        service: str,
        method: str,
        data: bytes = b"",
        *,
        ticket: str | None = None,
        token: str | None = None,
    ) -> Message:
        """Make a call; return the Response message."""
        message = remote_api.Request(
            service_name=service,
            method=method,
            request=data,
            request_id=self.ticket if ticket is None else ticket,
        )
        return await self.post(message.SerializeToString(), token)
