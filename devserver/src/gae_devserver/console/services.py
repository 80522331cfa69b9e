"""The page of the services of the app, and of the server itself."""

import asyncio
import importlib.metadata
import platform
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from gae_devserver.app import processes
from gae_devserver.app.supervisor import Supervisor
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.console.frame.answers import show
from gae_devserver.environments.environments import AppPackagesError

_PACKAGES = ("gae-devserver", "appengine-python-standard")


class Service(Protocol):
    """A service, as this page shows it."""

    version: str
    hostname: str
    app: Supervisor

    @property
    def config(self) -> AppConfig:
        """Its settings in effect."""

    async def restart(self) -> None:
        """Start a new process, with the packages that it now asks for."""


@dataclass(frozen=True)
class Addresses:
    """Where the server answers, and where it keeps what it keeps."""

    project: str
    app_port: int
    state_port: int
    grpc_port: int
    cloud_tasks: bool
    storage: Path | None

    def describe(self) -> dict[str, str | None]:
        """Return them as text."""
        grpc = f"127.0.0.1:{self.grpc_port}"
        return {
            "project": self.project,
            "app": f"http://127.0.0.1:{self.app_port}",
            "console": f"http://127.0.0.1:{self.state_port}",
            "datastore": grpc,
            "cloud_tasks": grpc if self.cloud_tasks else None,
            "storage": str(self.storage.resolve()) if self.storage else None,
        }


class ServiceRoutes:
    """Shows the services, the main one first, and restarts them."""

    def __init__(self, services: Mapping[str, Service], addresses: Addresses) -> None:
        self._services = services
        self._addresses = addresses

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/services", self._list),
            web.post("/services/{name}/restart", self._restart),
        ]

    def revisions(self) -> Mapping[str, Hashable]:
        """Return what changes when a service starts or ends."""
        apps = [service.app for service in self._services.values()]
        state = tuple((app.pid, app.is_ready, app.failure) for app in apps)
        return {"services": state}

    async def _list(self, request: web.Request) -> web.StreamResponse:
        # in a thread: it waits for another program
        kibibytes = await asyncio.to_thread(processes.memory)
        services = [
            _describe(name, service, kibibytes)
            for name, service in self._services.items()
        ]
        data = {
            "services": services,
            "server": self._addresses.describe(),
            "versions": _versions(),
        }
        return show(request, data, "services.html")

    async def _restart(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if (service := self._services.get(name)) is None:
            names = ", ".join(self._services)
            raise web.HTTPNotFound(
                text=f"This server runs no service {name!r}, only: {names}."
            )
        try:
            await service.restart()
        except AppPackagesError as error:
            raise web.HTTPConflict(text=str(error)) from None
        return web.json_response({"state": _state(service)})


def _state(service: Service) -> str:
    if service.app.failure:
        return "failed"
    return "ready" if service.app.is_ready else "starting"


def _describe(
    name: str, service: Service, kibibytes: Mapping[int, tuple[int, int]]
) -> dict[str, Any]:
    failure, config = service.app.failure, service.config
    pid = None if failure else service.app.pid
    return {
        "name": name,
        "version": service.version,
        "runtime": config.runtime,
        "url": f"http://{service.hostname}",
        "state": _state(service),
        "failure": failure,
        "summary": failure and failure.partition("\n")[0],
        "scaling": config.scaling,
        "file": str(config.path),
        "pid": pid,
        "memory": None if pid is None else _memory(pid, kibibytes),
    }


def _memory(pid: int, rows: Mapping[int, tuple[int, int]]) -> int | None:
    """Return the bytes of a process and of those that it has started."""
    parents = {process: parent for process, (parent, _) in rows.items()}
    found = {pid} | processes.below(pid, parents)
    return sum(rows[one][1] * 1024 for one in found if one in rows) or None


def _versions() -> dict[str, str]:
    return {
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "Python": platform.python_version(),
        "system": platform.platform(),
    }
