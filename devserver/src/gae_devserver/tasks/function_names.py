"""Names the function that a task calls, without unpickling the task."""

import pickletools
import re

# a name that Python can import; another name comes from an unknown pickle, and could
# have control characters, so it is not printed
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_MAX_LENGTH = 200
# defer() pickles (function, args, kwargs), so the name is among the first opcodes; the
# limit is for hostile payloads with millions of them
_MAX_OPCODES = 16


def function_name(payload: bytes) -> str | None:
    """Return the dotted name of the function that a deferred task calls.

    Loading a pickle can run any code, so this only reads the name: from the opcode
    GLOBAL (protocols 0 to 3), or the two strings before STACK_GLOBAL (4 and 5).

    Returns:
        "module.function", or None if the payload is not such a pickle.
    """
    strings: list[str] = []
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(payload)):
            if count >= _MAX_OPCODES:
                return None
            if opcode.name == "GLOBAL":
                return _checked(str(argument).replace(" ", ".", 1))
            if opcode.name == "STACK_GLOBAL":
                return _checked(".".join(strings[-2:]))
            if isinstance(argument, str):
                strings.append(argument)
    except Exception:  # noqa: BLE001
        # broken bytes make genops raise errors of many types
        return None
    return None


def _checked(name: str) -> str | None:
    if len(name) > _MAX_LENGTH or not _DOTTED.fullmatch(name):
        return None
    return name
