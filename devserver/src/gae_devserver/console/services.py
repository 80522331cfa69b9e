"""The route of the State API for the services of the app."""

from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import web

from gae_devserver.app.supervisor import Supervisor
from gae_devserver.config.app_yaml import AppConfig


class Service(Protocol):
    """A service, as this route shows it."""

    version: str
    hostname: str
    app: Supervisor

    @property
    def config(self) -> AppConfig:
        """Its settings in effect."""


class ServiceRoutes:
    """Shows the services, the main one first."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get("/services", self._get_services)]

    async def _get_services(self, request: web.Request) -> web.Response:
        described = [_describe(name, one) for name, one in self._services.items()]
        return web.json_response({"services": described})


def _describe(name: str, service: Service) -> dict[str, Any]:
    failure = service.app.failure
    state = "failed" if failure else "ready" if service.app.is_ready else "starting"
    return {
        "name": name,
        "version": service.version,
        "runtime": service.config.runtime,
        "url": f"http://{service.hostname}",
        "state": state,
        "failure": failure,
    }
