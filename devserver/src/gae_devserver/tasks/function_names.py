"""Names the function that a task calls, without unpickling the task."""

import functools

from gae_devserver.tasks.deferred_calls import function_of

# defer() pickles (function, args, kwargs), so the name of a function is among the first
# opcodes; that of a method is behind its object. The limit is for hostile payloads
_MAX_OPCODES = 1000
_MAX_KEPT = 2000
"""Bytes of a payload whose name is kept."""


def function_name(payload: bytes) -> str | None:
    """Return the dotted name of the function that a deferred task calls.

    Returns:
        "module.function" or "module.Class.method"; None if the payload is not such a
        pickle.
    """
    if len(payload) > _MAX_KEPT:
        return function_of(payload, _MAX_OPCODES)
    return _name_of(payload)


# the log names the function of a task when it is added, and again when it has run
@functools.lru_cache(maxsize=1000)
def _name_of(payload: bytes) -> str | None:
    return function_of(payload, _MAX_OPCODES)
