"""The app, and the request that makes a call, as the SDK's stubs see them."""

from google.appengine.api import request_info

from gae_devserver.http.running_requests import RunningRequests


class Dispatcher(request_info._LocalFakeDispatcher):  # type: ignore[misc]
    """Answers the modules API for an app with one service and one version."""

    def __init__(self, service: str, version: str, hostname: str, scaling: str) -> None:
        self._has_instances = scaling != "automatic"
        super().__init__(
            module_names=[service],
            module_name_to_versions={service: [version]},
            module_name_to_default_versions={service: version},
            module_name_to_version_to_hostname={service: {version: hostname}},
        )

    def get_num_instances(self, module: str, version: str) -> int:
        """Return 1; with automatic scaling, App Engine refuses the question."""
        if self._has_instances and version in self.get_versions(module):
            return 1
        return super().get_num_instances(module, version)


class AppRequestInfo(request_info.RequestInfo):  # type: ignore[misc]
    """Answers the stubs' questions about the request that makes a call."""

    def __init__(
        self,
        service: str,
        version: str,
        hostname: str,
        requests: RunningRequests,
        *,
        scaling: str = "automatic",
    ) -> None:
        self._service = service
        self._version = version
        self._requests = requests
        self._hostname = hostname
        self._dispatcher = Dispatcher(service, version, hostname, scaling)

    def get_request_url(self, request_id: str | None) -> str:
        """Return the URL of the request with this ticket."""
        return self._requests.url(request_id) or f"http://{self._hostname}/"

    # The request id is None when a commit adds its transactional tasks.
    def get_module(self, request_id: str | None) -> str:
        """Return the service."""
        return self._service

    def get_version(self, request_id: str | None) -> str:
        """Return the version."""
        return self._version

    def get_instance(self, request_id: str | None) -> None:
        """Return None: the app runs as a single instance."""

    def get_dispatcher(self) -> Dispatcher:
        """Return the dispatcher of the modules API."""
        return self._dispatcher
