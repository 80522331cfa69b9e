"""The limit on open files: raised for the server's connections, not for the app."""

import contextlib
import resource

# for 512 connections to each port, and as many to the app; a limit that is far higher
# costs memory in programs that make a table of it
_WANTED = 4096
# what the server opens besides, and connections that are about to be refused
_OTHERS = 384
# three HTTP ports, the app, its API calls, and the port of RPCs, which serves as many
# connections of HTTP besides
_SHARES = 7
_FEWEST = 16


def raise_soft_limit() -> int:
    """Let this process open more files; return the soft limit that it had.

    The app should get that limit: select() fails for files above 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS allows less than it says
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft


def connections_of_a_port(most: int) -> int:
    """Return how many connections a port can hold: `most`, or fewer by the limit.

    accept() fails in a process with too many open files, for all ports.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    return min(most, max(_FEWEST, (soft - _OTHERS) // _SHARES))
