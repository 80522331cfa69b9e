"""The SMTP server that --smtp-host names."""

import dataclasses
import ipaddress

USER, PASSWORD = "DEVSERVER_SMTP_USER", "DEVSERVER_SMTP_PASSWORD"
"""The server's variables for the account."""
PORT, TLS_PORT = 25, 465


@dataclasses.dataclass(frozen=True)
class SmtpServer:
    """An SMTP server, and the account there."""

    host: str
    port: int = PORT
    user: str = ""
    password: str = dataclasses.field(default="", repr=False)

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
