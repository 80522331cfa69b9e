"""What the options of the command line accept as values."""

import argparse
import contextlib
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gae_devserver.app.python import Python
from gae_devserver.cloud_tasks import hosts
from gae_devserver.environments import interpreters

if TYPE_CHECKING:
    from gae_devserver.faults import Faults


def path(text: str) -> Path:
    """Return a path as typed, but resolved if it has "..": messages show it."""
    named = Path(text)
    return named.resolve() if ".." in named.parts else named


def port(text: str) -> int:
    """Return the number of a port, or 0 for a free one."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from 0 to 65535, such as 8080"
        )
    return int(text)


def address(text: str) -> str | None:
    """Return an IP address; None for those on which the server listens anyway."""
    try:
        named = str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an IP address. Write for example --host 0.0.0.0, or "
            "leave --host out to listen on localhost"
        ) from None
    return None if named in ("127.0.0.1", "::1") else named


def host(text: str) -> str:
    """Return the name or the address of another machine."""
    try:
        return hosts.normalized(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a host name nor an IP address. Write only the host "
            f"of the URL, for example {hosts.OPTION} worker.example.com"
        ) from None


def python(text: str) -> Python:
    """Return an interpreter, or that of an environment."""
    try:
        return interpreters.named(text)
    except interpreters.PythonError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> float:
    """Return a time above 0."""
    with contextlib.suppress(ValueError):
        if 0.0 < float(text) < 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of seconds above 0 and below 1000000. Write for "
        "example --task-deadline 60"
    )


def smtp_server(text: str) -> tuple[str, int | None]:
    """Return a host and its port, if there is one."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::([0-9]{1,5}))?", text)
    if not match or not 0 < int(match[2] or 25) < 65536:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a host with or without a port. Write for example "
            "--smtp-host localhost:1025"
        )
    return match[1].strip("[]"), int(match[2]) if match[2] else None


def faults(text: str) -> "Faults":
    """Return the faults to inject."""
    from gae_devserver.faults import Faults

    try:
        return Faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{error}. Write for example --faults twice=0.1,kill=0.02"
        ) from None


def project(text: str) -> str:
    """Return a project ID."""
    # https://cloud.google.com/resource-manager/docs/creating-managing-projects
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a project ID. A project ID has 6 to 30 lowercase "
            "letters, digits and hyphens, and starts with a letter. Write for example "
            "--project my-project"
        )
    return text
