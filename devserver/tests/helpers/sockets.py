"""The TCP ports on which a process and its children listen, on Linux."""

import ipaddress
import os
import pathlib
import sys

import pytest

from gae_devserver.testing.processes import descendants

_LISTEN = "0A"

Address = tuple[str, int]


def listening_tcp_sockets(pid: int) -> tuple[list[Address], list[Address]]:
    """Return the addresses that a process listens on, and those of its descendants."""
    if not pathlib.Path("/proc/net/tcp").exists():
        pytest.skip("only Linux has /proc, which lists the sockets of a process")
    addresses = _listening()
    children = descendants(pid)
    assert children, "the app has no process"
    own = [addresses[inode] for inode in _sockets(pid) & addresses.keys()]
    theirs = [
        addresses[inode]
        for child in sorted(children)
        for inode in _sockets(child) & addresses.keys()
    ]
    return own, theirs


def _listening() -> dict[str, Address]:
    """Return inode -> address of every listening TCP socket."""
    found = {}
    for name in ("tcp", "tcp6"):
        path = pathlib.Path("/proc/net", name)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                found[fields[9]] = (_address(address), int(port, 16))
    return found


def _address(text: str) -> str:
    """Parse an address: words of four bytes, each in native byte order."""
    words = [bytes.fromhex(text[i : i + 8]) for i in range(0, len(text), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    address = ipaddress.ip_address(b"".join(words))
    return str(getattr(address, "ipv4_mapped", None) or address)


def _sockets(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    inodes = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)  # noqa: PTH115 - not a path
        except FileNotFoundError:
            continue  # closed in the meantime
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes
