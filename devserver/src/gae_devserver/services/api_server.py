"""The API server: answers API calls, over HTTP at `/rpc_http` and over Unix sockets.

It is the metadata server too, serves Cloud Tasks over REST, and has the certificates of
OIDC tokens.
"""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from aiohttp import web
from google.appengine.ext.remote_api import remote_api_bytes_pb2 as remote_api
from google.appengine.runtime import apiproxy_errors

from gae_devserver.cloud_tasks.identity import CERTIFICATES_PATH, Identity
from gae_devserver.cloud_tasks.rest import Rest
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.http.running_requests import RunningRequests
from gae_devserver.http.server import (
    TOKEN_HEADER,
    HttpServer,
    check_host,
    has_token,
    read_body,
)
from gae_devserver.memory import FreeMemory
from gae_devserver.services import rpc_table
from gae_devserver.services.metadata import Metadata
from gae_devserver.storage.storage import StorageError
from gae_devserver.terminal import printable

logger = logging.getLogger("gae_devserver")

ApiCall = Callable[[str, str, bytes, str], Awaitable[bytes]]
"""Carries out one API call: service, method, request and ticket; the response."""

_CODES = remote_api.RpcError
# google/appengine/runtime/default_api_stub.py turns these codes back into exceptions.
_CODE_OF: dict[type[Exception], int] = {
    apiproxy_errors.ArgumentError: _CODES.PARSE_ERROR,
    apiproxy_errors.CallNotFoundError: _CODES.CALL_NOT_FOUND,
    apiproxy_errors.CancelledError: _CODES.CANCELLED,
    apiproxy_errors.CapabilityDisabledError: _CODES.CAPABILITY_DISABLED,
    apiproxy_errors.DeadlineExceededError: _CODES.DEADLINE_EXCEEDED,
    apiproxy_errors.FeatureNotEnabledError: _CODES.FEATURE_DISABLED,
    apiproxy_errors.OverQuotaError: _CODES.OVER_QUOTA,
    apiproxy_errors.RequestTooLargeError: _CODES.REQUEST_TOO_LARGE,
    apiproxy_errors.ResponseTooLargeError: _CODES.RESPONSE_TOO_LARGE,
}

_MAX_WARNINGS = 100
_LARGE = 2**20


class ApiServer(HttpServer):
    """Decodes API calls, has the services carry them out, and encodes the answers."""

    def __init__(
        self,
        call: ApiCall,
        requests: RunningRequests,
        configs: Sequence[AppConfig],
        token: str,
        metadata: Metadata,
        identity: Identity,
        cloud_tasks: Rest,
    ) -> None:
        """Serve the running requests, and programs that have the token.

        `configs` are those of the services. Without the setting `app_engine_apis`,
        every call of a service is refused.
        """
        super().__init__(self._handle)
        self._carry_out = call
        self._requests = requests
        self._token = token
        self._metadata = metadata
        self._identity = identity
        self._cloud_tasks = cloud_tasks
        self._refusals = _refusals(configs)
        self._warned: set[str] = set()
        self._free_memory = FreeMemory()

    def apply(self, configs: Sequence[AppConfig]) -> None:
        """Use changed YAML files of the services."""
        self._refusals = _refusals(configs)

    async def _handle(self, http_request: web.BaseRequest) -> web.Response:
        check_host(http_request)
        if (answer := self._metadata.answer(http_request)) is not None:
            return answer
        if http_request.path == CERTIFICATES_PATH:
            return web.json_response(self._identity.certificates())
        if (answer := await self._cloud_tasks.answer(http_request)) is not None:
            return answer
        if http_request.path != "/rpc_http":
            return web.Response(status=404, text="Send API calls to /rpc_http.\n")
        if http_request.method != "POST":
            return web.Response(
                status=405,
                headers={"Allow": "POST"},
                text="Send API calls with POST.\n",
            )
        try:
            body = await read_body(http_request)
        except web.HTTPRequestEntityTooLarge as error:
            response = remote_api.Response()
            self._refuse(response, _CODES.REQUEST_TOO_LARGE, error)
            encoded = response.SerializeToString()
        else:
            has_right = None
            if TOKEN_HEADER in http_request.headers:
                has_right = has_token(http_request, self._token)
            encoded = await self.respond(body, has_right)
        return web.Response(body=encoded, content_type="application/octet-stream")

    async def respond(self, body: bytes, with_token: bool | None = None) -> bytes:
        """Carry out a Request, and return the Response; both are encoded.

        `with_token` says whether the token that came with it is right; None: none came.
        """
        response = remote_api.Response()
        try:
            response.response = await self._call(body, with_token)
        except apiproxy_errors.ApplicationError as error:
            response.application_error.code = error.application_error
            response.application_error.detail = error.error_detail or ""
        except apiproxy_errors.Error as error:
            self._refuse(response, _CODE_OF.get(type(error), _CODES.UNKNOWN), error)
        except StorageError as error:
            logger.error("the changes of an API call were not stored: %s", error)
            self._refuse(response, _CODES.UNKNOWN, error)
        encoded = response.SerializeToString()
        if len(encoded) > _LARGE:
            self._free_memory.add(len(encoded))
        return encoded

    def _refuse(
        self, response: remote_api.Response, code: int, error: Exception
    ) -> None:
        response.rpc_error.code = code
        detail = str(error) or type(error).__name__
        # The client uses the detail as part of a format string.
        response.rpc_error.detail = detail.replace("%", "%%")

    async def _call(self, body: bytes, with_token: bool | None) -> bytes:
        call = rpc_table.parse(remote_api.Request, body, "the call")
        what = printable(f"{call.service_name}.{call.method}")
        began = time.perf_counter()
        failed = ""
        self._requests.activity.begin_call(call.request_id)
        try:
            return await self._allowed(call, what, with_token)
        except Exception as error:
            failed = str(error) or type(error).__name__
            raise
        finally:
            self._requests.activity.add_call(
                call.request_id, what, call.request, began, failed
            )

    async def _allowed(
        self, call: remote_api.Request, what: str, with_token: bool | None
    ) -> bytes:
        """Carry out a call, if the program that makes it may do so."""
        service = self._requests.service(call.request_id)
        if (reason := self._refusals.get(service)) is not None:
            logger.error("%s was refused: %s", what, reason)
            raise apiproxy_errors.FeatureNotEnabledError(reason)
        with self._ticket(call.request_id, with_token=with_token) as ticket:
            if ticket is None:
                reason = f"{what} was made outside of a request, or after its end"
                if with_token is False:
                    reason += f", and {TOKEN_HEADER} is not the token of this server"
                raise apiproxy_errors.RPCFailedError(reason)
            began = time.perf_counter()
            try:
                return await self._carry_out(
                    call.service_name, call.method, call.request, ticket
                )
            except apiproxy_errors.CallNotFoundError as error:
                self._warn(str(error))
                raise
            except (apiproxy_errors.Error, StorageError):
                raise
            except Exception as error:
                # Without an error in the answer, the client would see an empty success.
                raise self._failure(what, error) from error
            finally:
                took = time.perf_counter() - began
                logger.debug("API call %s %.1f ms", what, took * 1e3)

    def _failure(self, what: str, error: Exception) -> apiproxy_errors.RPCFailedError:
        """Return what the app gets for an error that is not one of the service."""
        reason = str(error) or type(error).__name__
        # The SDK's search has a class of its own, which is slow to import.
        if isinstance(error, NotImplementedError) or type(error).__name__ == (
            "UnsupportedOnDevError"
        ):
            text = f"the dev server does not support this call of {what}: {reason}"
            self._warn(text)
            logger.debug("%s", printable(text), exc_info=error)
        else:
            text = (
                f"{what} failed inside the dev server: {type(error).__name__}: {reason}"
            )
            logger.error("%s", printable(text), exc_info=error)
        return apiproxy_errors.RPCFailedError(text)

    def _warn(self, text: str) -> None:
        """Log a refusal once."""
        if text not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(text)
            logger.warning(
                "%s; skip the call where GAE_ENV is localdev, or mock it in tests",
                printable(text),
            )

    @contextlib.contextmanager
    def _ticket(self, claimed: str, *, with_token: bool | None) -> Iterator[str | None]:
        """Yield the ticket of a call, or None where the call is not allowed.

        A call with the token instead of a ticket is a request of its own. It ends with
        the call, and with it a transaction that would otherwise stay open.
        """
        if claimed in self._requests:
            yield claimed
        elif with_token:
            ticket = self._requests.begin(url="")  # the stubs then use the app's URL
            try:
                yield ticket
            finally:
                self._requests.end(ticket)
        else:
            yield None


def _refusals(configs: Sequence[AppConfig]) -> dict[str, str]:
    """Return the reason for each service whose calls are refused."""
    refusals = {}
    for config in configs:
        if not config.app_engine_apis:
            of = f" of the service {config.service}" if len(configs) > 1 else ""
            lacks = "lacks the setting 'app_engine_apis: true'"
            refusals[config.service] = f"{config.path.name}{of} {lacks}"
    return refusals
