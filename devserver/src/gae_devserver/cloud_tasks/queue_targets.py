"""The HTTP target of a queue, which changes the requests of its tasks."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gae_devserver.cloud_tasks.messages import HttpMethod, Queue
from gae_devserver.http.forwarding import is_valid
from gae_devserver.rpc.errors import check, refuse_if

_MAX_PORT = 65535


def check_target(target: Any) -> None:
    """Check an HttpTarget.

    Raises:
        InvalidArgumentError: a setting is out of range.
        UnimplementedError: a setting is one that the dev server lacks.
    """
    field = "queue.http_target"
    refuse_if(target.HasField("oauth_token"), "HttpTarget.oauth_token")
    override = target.uri_override
    if override.HasField("host"):
        check(override.host, f"{field}.uri_override.host is empty.")
    check(
        0 <= override.port <= _MAX_PORT,
        f"{field}.uri_override.port is {override.port}, but it must be from 0 to "
        f"{_MAX_PORT}.",
    )
    check(
        target.http_method in HttpMethod.__members__.values(),
        f"{field}.http_method is {target.http_method}, which is no method.",
    )
    for index, one in enumerate(target.header_overrides):
        name, value = one.header.key, one.header.value
        check(
            is_valid(name.encode(), value.encode()),
            f"{field}.header_overrides[{index}] is {name!r}: {value!r}, which HTTP "
            "does not allow.",
        )
    token = target.oidc_token
    check(
        not target.HasField("oidc_token")
        or (token.service_account_email and token.audience),
        f"{field}.oidc_token must have a service_account_email and an audience.",
    )


def apply_target(settings: bytes, request: Any) -> None:
    """Change an HttpRequest as the settings of its queue say.

    Raises:
        ConnectionError: its URL has no parts that they could replace.
    """
    target = Queue.FromString(settings).http_target
    request.url = _overridden(request.url, target.uri_override)
    request.http_method = target.http_method or request.http_method
    for one in target.header_overrides:
        folded = one.header.key.lower()
        for name in [name for name in request.headers if name.lower() == folded]:
            del request.headers[name]
        request.headers[one.header.key] = one.header.value
    if target.HasField("oidc_token"):
        request.oidc_token.CopyFrom(target.oidc_token)


def _overridden(url: str, override: Any) -> str:
    """Return a URL with the parts that an UriOverride replaces.

    With IF_NOT_EXISTS it replaces only those that the URL lacks.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConnectionError(f"cannot send to {url!r}: {error}") from error
    always = override.uri_override_enforce_mode != override.IF_NOT_EXISTS
    user, at, address = parts.netloc.rpartition("@")
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = address, ""
    scheme, path, query = parts.scheme, parts.path, parts.query
    if override.HasField("scheme") and always:
        scheme = "http" if override.scheme == override.HTTP else "https"
    if override.HasField("host") and always:
        host = override.host
    if override.HasField("port") and (always or not port):
        port = str(override.port or "")
    if override.HasField("path_override") and (always or not path):
        path = override.path_override.path
        path = path if path.startswith("/") or not path else f"/{path}"
    if override.HasField("query_override") and (always or not query):
        query = override.query_override.query_params
    address = f"{host}:{port}" if port else host
    return urlunsplit((scheme, f"{user}{at}{address}", path, query, parts.fragment))
