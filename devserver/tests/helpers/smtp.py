"""An SMTP server that accepts mails, except from or to `refused@example.com`."""

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator


@dataclasses.dataclass
class SmtpSink:
    """What the server has accepted."""

    tls: ssl.SSLContext | None = None
    """With these settings it offers TLS."""
    port: int = 0
    recipients: list[str] = dataclasses.field(default_factory=list)
    messages: list[bytes] = dataclasses.field(default_factory=list)
    used_tls: bool = False

    async def talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the commands of one client, which may refuse the certificate."""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            answer = b"250 ok\r\n"
            if line.upper().startswith(b"EHLO") and self.tls is not None:
                answer = b"250-sink\r\n250 STARTTLS\r\n"
            elif line.upper().startswith(b"STARTTLS") and self.tls is not None:
                writer.write(b"220 go on\r\n")
                self.used_tls = True
                await writer.start_tls(self.tls)
                continue
            elif b"refused@example.com" in line:
                answer = b"550 not here\r\n"
            elif line.upper().startswith(b"RCPT"):
                self.recipients.append(line.decode().strip())
            elif line.upper().startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(answer)


@contextlib.asynccontextmanager
async def smtp_sink(tls: ssl.SSLContext | None = None) -> AsyncIterator[SmtpSink]:
    """Run the server."""
    sink = SmtpSink(tls)
    server = await asyncio.start_server(sink.talk, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    async with server:
        yield sink
