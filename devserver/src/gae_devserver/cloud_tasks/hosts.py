"""The hosts of HTTP targets: how they are compared, and which are this machine."""

import ipaddress
import re

OPTION = "--http-target-host"
"""The option of the command line that allows a host."""

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def normalized(host: str) -> str:
    """Return the form in which hosts are compared.

    `host` is in ASCII, as in `URL.raw_host`.

    Raises:
        ValueError: it is neither a name nor an address.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().removesuffix(".")
        if not _NAME.fullmatch(name):
            what = f"{host!r} is" if host else "it names"
            raise ValueError(f"{what} no host") from None
        return name
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


def is_this_machine(host: str) -> bool:
    """Return whether a normalized host is certainly this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
