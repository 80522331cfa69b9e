"""Reads what a pickle describes: no import, no call, and limited in time and memory.

Loading a pickle can run any code. This only follows its opcodes, and notes which names
it would import and call. fickling, from PyPI, turns pickles into Python code to judge
them, and has no limits.
"""

import io
import pickletools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Value = Any
"""A plain value; a tuple, a list; or one of the classes below."""

_HIGHEST_PROTOCOL = 5
_MAX_NAME = 200


class UnreadableError(Exception):
    """The bytes are not a pickle that can be read; the message says why."""


@dataclass(slots=True, eq=False)
class Name:
    """What a pickle would import, such as "models.Counter"."""

    text: str


@dataclass(slots=True, eq=False)
class Instance:
    """An object that a pickle would make: the result of a call."""

    made_by: Value
    arguments: Value
    state: Value = None
    items: list[Value] = field(default_factory=list)
    """What is appended to it."""
    pairs: list[tuple[Value, Value]] = field(default_factory=list)
    """What is set in it by keys."""


@dataclass(slots=True, eq=False)
class Pairs:
    """A dict; its keys may be of any kind here."""

    items: list[tuple[Value, Value]]


@dataclass(slots=True, eq=False)
class Members:
    """A set, or a frozenset; its members may be of any kind here."""

    items: list[Value]
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Pickled:
    """What was read of a pickle."""

    values: Sequence[Value]
    """Its one value; if reading ended early, the parts of it so far."""
    is_whole: bool


class _Mark:
    """Separates the values on the stack."""


_MARK = _Mark()
_CODES = {code.code.encode("latin-1"): code for code in pickletools.opcodes}
# what Python 2 writes for bytes that are not printable
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_MADE: Mapping[str, Callable[[], Value]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": lambda: (),
    "EMPTY_LIST": list,
    "EMPTY_DICT": lambda: Pairs([]),
    "EMPTY_SET": lambda: Members([]),
    "NEXT_BUFFER": lambda: Instance(Name("buffer"), ()),
}
_IGNORED = {"PROTO", "FRAME", "READONLY_BUFFER"}


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Value] = []
        self._marks: list[int] = []
        self._memo: dict[int, Value] = {}

    def _pop(self) -> Value:
        value = self.stack.pop()
        if value is _MARK:
            raise UnreadableError("its stack is broken")
        return value

    def _pop_to_mark(self) -> list[Value]:
        place = self._marks.pop()
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def _push(self, value: Value) -> None:
        self.stack.append(value)

    def do(self, opcode: str, argument: Any) -> None:
        """Follow an opcode, except STOP.

        Raises:
            UnreadableError, LookupError, TypeError, ValueError: the pickle is broken.
        """
        if opcode in _IGNORED:
            return
        if opcode in _MADE:
            self._push(_MADE[opcode]())
        elif (follow := getattr(self, f"_do_{opcode.lower()}", None)) is not None:
            follow(argument)
        elif opcode.endswith("PUT"):
            self._memo[argument] = self.stack[-1]
        elif opcode.endswith("GET"):
            self._push(self._memo[argument])
        elif opcode.startswith("EXT"):
            self._push(Instance(Name("extension"), (argument,)))
        else:
            self._push(argument)

    # what follows is called by the name of an opcode

    def _do_mark(self, _: Any) -> None:
        self._marks.append(len(self.stack))
        self._push(_MARK)

    def _do_pop(self, _: Any) -> None:
        if self.stack.pop() is _MARK:
            self._marks.pop()

    def _do_pop_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def _do_dup(self, _: Any) -> None:
        value = self._pop()
        self.stack += (value, value)

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _do_global(self, name: str) -> None:
        self._push(Name(name.replace(" ", ".", 1)))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._push(Name(_joined(module, name)))

    def _do_tuple(self, _: Any) -> None:
        self._push(tuple(self._pop_to_mark()))

    def _do_tuple1(self, _: Any) -> None:
        self._push((self._pop(),))

    def _do_tuple2(self, _: Any) -> None:
        second, first = self._pop(), self._pop()
        self._push((first, second))

    def _do_tuple3(self, _: Any) -> None:
        third, second, first = self._pop(), self._pop(), self._pop()
        self._push((first, second, third))

    def _do_list(self, _: Any) -> None:
        self._push(self._pop_to_mark())

    def _do_dict(self, _: Any) -> None:
        self._push(Pairs(_paired(self._pop_to_mark())))

    def _do_frozenset(self, _: Any) -> None:
        self._push(Members(self._pop_to_mark(), frozen=True))

    def _do_append(self, _: Any) -> None:
        self._extend([self._pop()])

    def _do_appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _do_additems(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Value]) -> None:
        target = self.stack[-1]
        if isinstance(target, Instance | Members):
            target.items += values
        elif isinstance(target, list):
            target += values
        else:
            raise UnreadableError("it appends to a value that is no list")

    def _do_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._set(self._pop_to_mark())

    def _set(self, values: list[Value]) -> None:
        target = self.stack[-1]
        if isinstance(target, Instance):
            target.pairs += _paired(values)
        elif isinstance(target, Pairs):
            target.items += _paired(values)
        else:
            raise UnreadableError("it sets a key of a value that is no dict")

    def _do_reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        match function, arguments:
            # before protocol 4, pickle reads an inner name so
            case (
                Name("builtins.getattr" | "__builtin__.getattr"),
                (Name(owner), str(name)),
            ) if len(owner) + len(name) < _MAX_NAME:
                self._push(Name(f"{owner}.{name}"))
            case _:
                self._push(Instance(function, arguments))

    def _do_newobj(self, _: Any) -> None:
        arguments, cls = self._pop(), self._pop()
        self._push(Instance(cls, arguments))

    def _do_newobj_ex(self, _: Any) -> None:
        self._pop()
        self._do_newobj(None)

    def _do_inst(self, name: str) -> None:
        self._push(Instance(Name(name.replace(" ", ".", 1)), self._pop_to_mark()))

    def _do_obj(self, _: Any) -> None:
        cls, *arguments = self._pop_to_mark()
        self._push(Instance(cls, arguments))

    def _do_build(self, _: Any) -> None:
        state = self._pop()
        if isinstance(self.stack[-1], Instance):
            self.stack[-1].state = state

    def _do_persid(self, identifier: Any) -> None:
        self._push(Instance(Name("persistent"), (identifier,)))

    def _do_binpersid(self, _: Any) -> None:
        self._do_persid(self._pop())


def read_pickle(
    payload: bytes, max_opcodes: int, stop: Callable[[Name], bool] | None = None
) -> Pickled:
    """Read a pickle of any protocol, also of Python 2.

    It ends early after `max_opcodes`, or if its first value is a name for which `stop`
    is true.

    Raises:
        UnreadableError: the bytes are no pickle.
    """
    stream, machine = io.BytesIO(payload), _Machine()
    try:
        for _ in range(max_opcodes):
            code = _CODES.get(stream.read(1))
            if code is None:
                place = stream.tell() - 1
                raise UnreadableError(
                    f"byte {place} is no opcode" if payload[place:] else "it ends early"
                )
            if code.name == "STOP":
                return Pickled(machine.stack[-1:], is_whole=True)
            machine.do(code.name, _argument(code, stream))
            if stop is not None and code.name.endswith("GLOBAL"):
                values = [one for one in machine.stack if one is not _MARK]
                if len(values) == 1 and stop(values[0]):
                    return Pickled(values, is_whole=False)
    except UnreadableError:
        raise
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise UnreadableError(f"it is broken at byte {stream.tell()}") from error
    parts = [value for value in machine.stack if value is not _MARK]
    return Pickled(parts, is_whole=False)


def _argument(code: pickletools.OpcodeInfo, stream: io.BytesIO) -> Any:
    """Return the argument of an opcode."""
    # pickletools takes ASCII alone, and warns of escapes that are none
    if code.name == "STRING":
        argument: Any = _ESCAPE.sub(_unescaped, _line(stream)[1:-1])
    elif code.name in ("GLOBAL", "INST"):
        return f"{_line(stream).decode()} {_line(stream).decode()}"
    elif code.name == "PERSID":
        return _line(stream)
    elif code.arg is None:
        return None
    else:
        argument = code.arg.reader(stream)
    if code.name == "PROTO" and argument > _HIGHEST_PROTOCOL:
        raise UnreadableError(f"its protocol is {argument}")
    if code.name not in _STRINGS:
        return argument
    data = argument.encode("latin-1") if isinstance(argument, str) else argument
    return data.decode() if data.isascii() else data


def _line(stream: io.BytesIO) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise UnreadableError("it ends early")
    return line[:-1]


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    return bytes([int(code[1:], 16)]) if len(code) == 3 else _ESCAPED.get(code, code)


def _joined(module: Value, name: Value) -> str:
    if not isinstance(module, str) or not isinstance(name, str):
        raise UnreadableError("it imports what is no name")
    return f"{module}.{name}"


def _paired(values: list[Value]) -> list[tuple[Value, Value]]:
    return list(zip(values[::2], values[1::2], strict=True))
