"""Names the function that a task calls, without unpickling the task."""

from gae_devserver.tasks.deferred_calls import function_of

# defer() pickles (function, args, kwargs), so the name of a function is among the first
# opcodes; that of a method is behind its object. The limit is for hostile payloads
_MAX_OPCODES = 1000


def function_name(payload: bytes) -> str | None:
    """Return the dotted name of the function that a deferred task calls.

    Returns:
        "module.function" or "module.Class.method"; None if the payload is not such a
        pickle.
    """
    return function_of(payload, _MAX_OPCODES)
