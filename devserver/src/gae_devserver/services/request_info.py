"""The app, and the request that makes a call, as the SDK's stubs see them."""

import dataclasses
from collections.abc import Mapping
from typing import NoReturn, Self

from google.appengine.api import request_info
from google.appengine.api.modules import modules_service_pb2 as pb
from google.appengine.runtime import apiproxy_errors

from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.http.running_requests import RunningRequests

_ONE_INSTANCE = "this dev server runs exactly one instance of each service"


@dataclasses.dataclass(frozen=True)
class RunningService:
    """A service of the app, as requests to it need it."""

    name: str
    version: str
    hostname: str
    """"host:port" where it answers."""
    scaling: str = "automatic"

    @classmethod
    def of(cls, config: AppConfig, version: str, hostname: str) -> Self:
        """Return a service with this version, if its YAML file names no other one."""
        version = config.version or version
        return cls(config.service, version, hostname, config.scaling)


class Dispatcher(request_info.Dispatcher):  # type: ignore[misc]
    """Answers the modules API; each service has one version and one instance.

    The SDK's client has no errors with a text of their own but `modules.Error`, which
    it makes of every code that it does not expect.
    """

    def __init__(self, services: Mapping[str, RunningService]) -> None:
        self._services = services

    def get_module_names(self) -> list[str]:
        """Return the services, the main one first."""
        return list(self._services)

    def get_versions(self, module: str) -> list[str]:
        """Return the one version of a service."""
        return [self.get_default_version(module)]

    def get_default_version(self, module: str) -> str:
        """Return the version of a service."""
        if module not in self._services:
            raise request_info.ModuleDoesNotExistError
        return self._services[module].version

    def get_hostname(
        self, module: str, version: str, instance: str | None = None
    ) -> str:
        """Return where a service answers; with automatic scaling, no instance does."""
        service = self._service(module, version)
        if instance is not None and (service.scaling == "automatic" or instance != "0"):
            raise request_info.InvalidInstanceIdError
        return service.hostname

    def get_num_instances(self, module: str, version: str) -> int:
        """Return 1; with automatic scaling, App Engine refuses the question."""
        self._with_instances(module, version)
        return 1

    def set_num_instances(self, module: str, version: str, instances: int) -> None:
        """Accept the number that runs."""
        self._with_instances(module, version)
        if instances != 1:
            _refuse(f"so it cannot run {instances}")

    def start_version(self, module: str, version: str) -> NoReturn:
        """Say that the version runs already, which the client ignores."""
        self._with_instances(module, version)
        raise request_info.VersionAlreadyStartedError

    def stop_version(self, module: str, version: str) -> None:
        """Refuse it."""
        self._with_instances(module, version)
        _refuse("and cannot stop it")

    def _service(self, module: str, version: str) -> RunningService:
        if version not in self.get_versions(module):
            raise request_info.VersionDoesNotExistError
        return self._services[module]

    def _with_instances(self, module: str, version: str) -> None:
        if self._service(module, version).scaling == "automatic":
            raise request_info.NotSupportedWithAutoScalingError


def _refuse(why: str) -> NoReturn:
    raise apiproxy_errors.ApplicationError(
        pb.ModulesServiceError.INVALID_INSTANCES, f"{_ONE_INSTANCE}, {why}"
    )


class AppRequestInfo(request_info.RequestInfo):  # type: ignore[misc]
    """Answers the stubs' questions about the request that makes a call."""

    def __init__(
        self,
        services: Mapping[str, RunningService],
        requests: RunningRequests,
        *,
        default_hostname: str,
    ) -> None:
        """Answer for the services by their names, the main one first.

        `requests` knows which of them makes a call.
        """
        self._requests = requests
        self._default_hostname = default_hostname
        self._services = services
        self._dispatcher = Dispatcher(services)

    def get_request_url(self, request_id: str | None) -> str:
        """Return the URL of the request with this ticket."""
        return self._requests.url(request_id) or f"http://{self._default_hostname}/"

    # The request id is None when a commit adds its transactional tasks.
    def get_module(self, request_id: str | None) -> str:
        """Return the service that got the request."""
        return self._requests.service(request_id)

    def get_version(self, request_id: str | None) -> str:
        """Return the version that got the request."""
        return self._services[self._requests.service(request_id)].version

    def get_instance(self, request_id: str | None) -> None:
        """Return None: each service runs as a single instance."""

    def get_dispatcher(self) -> Dispatcher:
        """Return the dispatcher of the modules API."""
        return self._dispatcher
