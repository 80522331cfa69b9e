"""What the SDK's stubs ask about the app and about the request that makes a call."""

from typing import Any

from google.appengine.api import request_info

from gae_devserver.http.running_requests import RunningRequests


class Dispatcher(request_info.Dispatcher):  # type: ignore[misc]
    """What the modules API can know of an app with one service and one version."""

    def __init__(self, service: str, version: str, hostname: str) -> None:
        self._service = service
        self._version = version
        self._hostname = hostname

    def get_module_names(self) -> list[str]:
        """Return the one service."""
        return [self._service]

    def get_versions(self, module: str) -> list[str]:
        """Return the one version of the service."""
        if module != self._service:
            raise request_info.ModuleDoesNotExistError(module)
        return [self._version]

    def get_default_version(self, module: str) -> str:
        """Return the one version of the service."""
        return self.get_versions(module)[0]

    def get_hostname(self, module: str, version: str, instance: Any = None) -> str:
        """Return where the version answers; instances have no address of their own."""
        self._check(module, version)
        if instance is not None:
            raise request_info.InvalidInstanceIdError(instance)
        return self._hostname

    def _check(self, module: str, version: str) -> None:
        if version not in self.get_versions(module):
            raise request_info.VersionDoesNotExistError(version)

    def _refuse(self, module: str, version: str, *_: Any) -> Any:
        # App Engine answers so for automatic scaling, and that is what runs here
        self._check(module, version)
        raise request_info.NotSupportedWithAutoScalingError

    set_num_instances = get_num_instances = start_version = stop_version = _refuse

    def send_background_request(self, *_: Any) -> Any:
        """Refuse: background threads need manual or basic scaling."""
        raise request_info.NotSupportedWithAutoScalingError


class AppRequestInfo(request_info.RequestInfo):  # type: ignore[misc]
    """What the stubs ask about the request that makes a call."""

    def __init__(
        self, service: str, version: str, hostname: str, requests: RunningRequests
    ) -> None:
        self._service = service
        self._version = version
        self._requests = requests
        self._hostname = hostname
        self._dispatcher = Dispatcher(service, version, hostname)

    def get_request_url(self, request_id: str | None) -> str:
        """Return the URL of the request with this ticket."""
        return self._requests.url(request_id) or f"http://{self._hostname}/"

    # the request id is None when a commit adds its transactional tasks
    def get_module(self, request_id: str | None) -> str:
        """Return the service."""
        return self._service

    def get_version(self, request_id: str | None) -> str:
        """Return the version."""
        return self._version

    def get_instance(self, request_id: str | None) -> None:
        """Return no instance: there is only one."""
        return

    def get_dispatcher(self) -> Dispatcher:
        """Return what knows the services."""
        return self._dispatcher
