"""The sockets of all ports: loopback, and what --host adds to the public one."""

import errno
import socket

BACKLOG = 1024
"""Connections that wait until the server accepts them."""
_FREE_PORT_TRIES = 20
# all addresses of IPv4 or IPv6
_ALL = ("0.0.0.0", "::")


CONSOLE_PORT = 8000
"""Where the console is if this port is free, and the user names no other one."""


class PortError(Exception):
    """The server cannot listen on its port; the message is for the user."""


def listen(port: int, host: str | None) -> tuple[socket.socket, ...]:
    """Listen on the loopback addresses, and on `host` if it is given.

    Raises:
        PortError: another program has the port, this user may not use it, or this
            machine has no such address.
    """
    addresses = ["127.0.0.1", "::1"]
    if host in _ALL:
        # 0.0.0.0 and :: already include loopback
        addresses[":" in host] = host
    elif host is not None:
        addresses.append(host)
    for _ in range(_FREE_PORT_TRIES):
        sockets: list[socket.socket] = []
        number = port
        for address in addresses:
            try:
                sockets.append(listen_on(address, number))
            except OSError as error:
                in_use = error.errno == errno.EADDRINUSE
                if address == "::1" and not in_use:
                    # this machine has no IPv6
                    continue
                for sock in sockets:
                    sock.close()
                # localhost may be ::1 in a browser, which would reach the other program
                if port or not sockets or not in_use:
                    raise _port_error(port, address, error) from error
                break
            number = sockets[0].getsockname()[1]
        else:
            return tuple(sockets)
    raise PortError(
        "No port was found that is free on both 127.0.0.1 and ::1. Choose one with "
        "--port."
    )


def listen_near(port: int, host: str | None) -> tuple[socket.socket, ...]:
    """Listen as `listen` does, on the next free port after `port`.

    Raises:
        PortError: there is no free port.
    """
    for number in range(port + 1, min(port + 1 + _FREE_PORT_TRIES, 65536)):
        try:
            return listen(number, host)
        except PortError:
            continue
    return listen(0, host)


def listen_on(address: str, port: int) -> socket.socket:
    """Listen on one address; port 0 means any free port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=BACKLOG)


def listen_here(port: int, option: str) -> socket.socket:
    """Listen on 127.0.0.1 alone, on the port that the user has named with an option.

    Raises:
        PortError: it cannot be used.
    """
    try:
        return listen_on("127.0.0.1", port)
    except OSError as error:
        raise _port_error(port, "127.0.0.1", error, option) from error


def listen_for_console(port: int | None) -> socket.socket:
    """Listen on the console's port; None: CONSOLE_PORT, or another one that is free.

    Raises:
        PortError: the port that the user has named cannot be used.
    """
    if port is not None:
        return listen_here(port, "--console-port")
    try:
        return listen_on("127.0.0.1", CONSOLE_PORT)
    except OSError:
        return listen_on("127.0.0.1", 0)


def _port_error(
    port: int, address: str, error: OSError, option: str = "--port"
) -> PortError:
    if error.errno == errno.EADDRNOTAVAIL:
        return PortError(
            f"This machine has no address {address}. Pass another one to --host."
        )
    if error.errno == errno.EADDRINUSE:
        return PortError(
            f"Port {port} is in use by another program. Stop that program, or choose "
            f"another port: {option} 0 picks a free one."
        )
    return PortError(
        f"Port {port} cannot be used: {error.strerror}. Choose another one with "
        f"{option}."
    )


def other_urls(sockets: tuple[socket.socket, ...]) -> list[str]:
    """Return the URL of the address that --host adds, unless it is all addresses."""
    names = [sock.getsockname()[:2] for sock in sockets]
    return [
        f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for host, port in names
        if host not in ("127.0.0.1", "::1", *_ALL)
    ]


def what_is_exposed(
    host: str, sockets: tuple[socket.socket, ...], *, several: bool = False
) -> str:
    """Return a warning about who can reach the server, or several services' ports."""
    where = "every address of this machine" if host in _ALL else host
    port = f"port {sockets[0].getsockname()[1]}"
    if several:
        port += " or on the port of a service"
    return (
        f"--host {host}: anyone who can reach {where} on {port} can use the app, "
        "and the connection is not encrypted. The State API and the API server still "
        "listen on 127.0.0.1 only."
    )
