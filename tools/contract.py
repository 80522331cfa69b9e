"""Runs the contract: the variants of an app that it covers, and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tools.cloud_sdk import need_dev_appserver
from tools.environments import install
from tools.processes import run_pytest

if TYPE_CHECKING:
    import nox


class Variant(NamedTuple):
    """What the contract runs on: a dev server, an NDB library, a service for tasks."""

    server: str
    ndb: str = "bundled"
    tasks: str = "bundled"


EMBEDDED = {
    "embedded": Variant("embedded"),
    "embedded_cloud": Variant("embedded", ndb="cloud"),
    "embedded_tasks": Variant("embedded", tasks="cloud"),
}
VARIANTS = EMBEDDED | {
    "dev_appserver": Variant("dev_appserver"),
    "dev_appserver_cloud": Variant("dev_appserver", ndb="cloud"),
}


def test_contract(session: nox.Session, variant: Variant, *apps: str) -> None:
    """Install what the contract needs, and run it on apps."""
    if variant.server == "dev_appserver":
        need_dev_appserver(session.skip, emulator=variant.ndb == "cloud")
    install(session, "test", apps=apps, devserver=True)
    run_contract(session, variant, *apps)


def run_contract(session: nox.Session, variant: Variant, *apps: str) -> None:
    """Run the contract on apps, with the packages that are installed."""
    options = [f"--{name}={value}" for name, value in variant._asdict().items()]
    for app in apps:
        run_pytest(session, "tests/contract", f"--app={app}", *options)
