"""Reads which call a deferred task makes, without unpickling the task."""

from dataclasses import dataclass
from typing import Any

from gae_devserver.tasks.pickle_texts import checked_name, class_of, text_of
from gae_devserver.tasks.pickles import (
    Name,
    Pairs,
    Pickled,
    UnreadableError,
    Value,
    read_pickle,
)

_SDK = "google.appengine.ext.deferred.deferred"
_METHOD = f"{_SDK}.invoke_member"
_STORED = f"{_SDK}.run_from_datastore"
# pickle makes names and objects with these, so the name that counts comes later
_HELPERS = frozenset(
    {
        _METHOD,
        "builtins.getattr",
        "__builtin__.getattr",
        "copyreg._reconstructor",
        "copy_reg._reconstructor",
        "copyreg.__newobj__",
        "copyreg.__newobj_ex__",
        "copy_reg.__newobj__",
    }
)
_MAX_OPCODES = 6000
_MAX_ARGUMENT = 1000
_MAX_ARGUMENTS = 50
_MAX_CALL = 2000


@dataclass(frozen=True, slots=True)
class Call:
    """A call, as text."""

    function: str
    """Its dotted name; for a method with its class."""
    owner: str | None
    """The object whose method it is, or that is called; None: it is a function."""
    arguments: tuple[str, ...]
    """Such as "5" and "step=2"."""
    stored_at: str | None = None
    """The key of the entity that has the call, if it was too large for a task."""

    @property
    def text(self) -> str:
        """The call as Python would write it, cut to a length."""
        text = f"{self.function}({', '.join(self.arguments)})"
        return text if len(text) <= _MAX_CALL else f"{text[:_MAX_CALL]}…"


def function_of(payload: bytes, max_opcodes: int) -> str | None:
    """Return the dotted name of the function or the method that a task calls.

    It reads no further than the name.
    """
    try:
        read = read_pickle(payload, max_opcodes, lambda name: name.text not in _HELPERS)
        return _call_in(read, max_arguments=0).function
    except UnreadableError:
        return None


def read_call(payload: bytes) -> Call:
    """Return the call that `defer` has pickled.

    Raises:
        UnreadableError: the payload is another one; the message says why.
    """
    return _call_in(read_pickle(payload, _MAX_OPCODES), _MAX_ARGUMENTS)


def _call_in(read: Pickled, max_arguments: int) -> Call:
    function, arguments, keywords = _parts(read)
    name, owner = class_of(function), None
    if name is None:
        raise UnreadableError("it does not begin with a function")
    if name == _METHOD and len(arguments) > 1:
        instance, member, *arguments = arguments
        cls = class_of(instance) or _class_of_plain(instance)
        name = checked_name(Name(f"{cls}.{member}"))
        if name is None:
            raise UnreadableError("it does not name the method that it calls")
        if not isinstance(instance, Name) and max_arguments:
            owner = text_of(instance, _MAX_ARGUMENT)
    elif not isinstance(function, Name) and max_arguments:
        owner = text_of(function, _MAX_ARGUMENT)
    stored = arguments[0] if name == _STORED and arguments else None
    shown = [text_of(one, _MAX_ARGUMENT) for one in arguments[:max_arguments]]
    for key, value in keywords[: max(0, max_arguments - len(shown))]:
        word = key if isinstance(key, str) and key.isidentifier() else "?"
        shown.append(f"{word[:_MAX_ARGUMENT]}={text_of(value, _MAX_ARGUMENT)}")
    if not read.is_whole or len(shown) < len(arguments) + len(keywords):
        shown.append("…")
    return Call(name, owner, tuple(shown), stored if isinstance(stored, str) else None)


def _parts(read: Pickled) -> tuple[Value, list[Value], list[tuple[Value, Value]]]:
    """Return the function, the arguments and the keyword arguments."""
    if not read.is_whole:
        if not read.values:
            raise UnreadableError("it does not begin with a function")
        function, *rest = read.values
        # the arguments were read, or are just being read
        return function, list(rest[0] if rest and _is_tuple(rest[0]) else rest), []
    match read.values:
        case [(function, (tuple() | list()) as arguments, Pairs(keywords))]:
            return function, list(arguments), keywords
        case [Name() as function]:
            return function, [], []
    raise UnreadableError("it is not a function with its arguments")


def _is_tuple(value: Value) -> bool:
    return isinstance(value, tuple)


def _class_of_plain(value: Any) -> str:
    kinds = {Pairs: "dict"}
    return f"builtins.{kinds.get(type(value), type(value).__name__)}"
