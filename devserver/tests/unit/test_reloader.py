"""Edits of the files of several services."""

import asyncio
from pathlib import Path

import pytest

from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.application import load
from gae_devserver.reloader import Reloader
from tests.helpers.app_folder import make_app
from tests.helpers.waiting import until

pytestmark = pytest.mark.asyncio


class Service:
    """Restarts until `installed` is set, as if it installed packages."""

    label = ""
    started = 0.0

    def __init__(self, config: AppConfig) -> None:
        self.config = config
        self.restarts = 0
        self.installed = asyncio.Event()

    def apply(self, config: AppConfig) -> None:
        """Use these settings."""
        self.config = config

    async def restart(self) -> None:
        """Count the restart."""
        self.restarts += 1
        await self.installed.wait()

    def edit(self) -> None:
        """Change a file."""
        (self.config.folder / "main.py").touch()


async def test_no_service_waits_for_the_restart_of_another(tmp_path: Path) -> None:
    """One restarts while another one installs packages, which then restarts again."""
    folders = [make_app(tmp_path / n, app_yaml=f"service: {n}\n") for n in ("a", "b")]
    application = load(folders)
    one, other = services = [Service(config) for config in application.services]
    by_name = {service.config.service: service for service in services}
    reloader = Reloader(application, folders, by_name, parts=())
    running = asyncio.create_task(reloader.run())
    # the server may not watch the files yet
    await until(lambda: one.edit() or one.restarts)  # type: ignore[func-returns-value]
    one.edit()
    other.edit()
    await until(lambda: other.restarts)
    assert one.restarts == 1
    one.installed.set()
    await until(lambda: one.restarts == 2)
    running.cancel()
    await asyncio.wait({running})
