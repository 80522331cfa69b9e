"""The errors of a request, with the status codes that the service gives them."""

from gae_devserver.rpc.status import StatusCode


class RpcError(Exception):
    """An error that the client sees as a status; str() is its text."""

    code = StatusCode.INTERNAL


class InvalidArgumentError(RpcError):
    """The request is invalid, whatever is stored."""

    code = StatusCode.INVALID_ARGUMENT


class NotFoundError(RpcError):
    """What the request names does not exist."""

    code = StatusCode.NOT_FOUND


class AlreadyExistsError(RpcError):
    """What the request creates exists already."""

    code = StatusCode.ALREADY_EXISTS


class FailedPreconditionError(RpcError):
    """The state of the server does not allow the request."""

    code = StatusCode.FAILED_PRECONDITION


class AbortedError(RpcError):
    """Another request was first; the client may try again."""

    code = StatusCode.ABORTED


class PermissionDeniedError(RpcError):
    """The request is for another project than the one that is served."""

    code = StatusCode.PERMISSION_DENIED


class DeadlineExceededError(RpcError):
    """The time that the client gives for the request is over."""

    code = StatusCode.DEADLINE_EXCEEDED


class ResourceExhaustedError(RpcError):
    """The request is larger than the server takes."""

    code = StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(RpcError):
    """The answer is lost; the request may have been carried out."""

    code = StatusCode.UNAVAILABLE


class UnimplementedError(RpcError):
    """The request uses a part of the API that the dev server lacks."""

    code = StatusCode.UNIMPLEMENTED


def check(condition: object, message: str) -> None:
    """Refuse the request unless `condition` holds.

    Raises:
        InvalidArgumentError: it does not.
    """
    if not condition:
        raise InvalidArgumentError(message)


def refuse_if(present: object, name: str) -> None:
    """Refuse a part of the API that the dev server lacks.

    Raises:
        UnimplementedError: the request has it.
    """
    if present:
        raise UnimplementedError(f"the dev server does not implement {name}")
