"""What goes wrong with a request, with the status code that the service gives it."""

from grpc import StatusCode


class RpcError(Exception):
    """A request that ends with a status; str() is the text that the client sees."""

    code = StatusCode.INTERNAL


class InvalidArgumentError(RpcError):
    """The request makes no sense, whatever is stored."""

    code = StatusCode.INVALID_ARGUMENT


class NotFoundError(RpcError):
    """An update found no entity."""

    code = StatusCode.NOT_FOUND


class AlreadyExistsError(RpcError):
    """An insert found an entity."""

    code = StatusCode.ALREADY_EXISTS


class AbortedError(RpcError):
    """Somebody else was first; the client may try again."""

    code = StatusCode.ABORTED


class PermissionDeniedError(RpcError):
    """The project is not the one that is served."""

    code = StatusCode.PERMISSION_DENIED


class UnavailableError(RpcError):
    """The answer is lost; the work may be done."""

    code = StatusCode.UNAVAILABLE


class UnimplementedError(RpcError):
    """A part of the API that is missing here."""

    code = StatusCode.UNIMPLEMENTED


def check(condition: object, message: str) -> None:
    """Refuse the request unless `condition` holds.

    Raises:
        InvalidArgumentError: it does not.
    """
    if not condition:
        raise InvalidArgumentError(message)


def refuse_if(present: object, name: str) -> None:
    """Refuse a part of the API that is missing here.

    Raises:
        UnimplementedError: the request has it.
    """
    if present:
        raise UnimplementedError(f"the dev server does not implement {name}")
