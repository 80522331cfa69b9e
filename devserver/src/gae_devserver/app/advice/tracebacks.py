"""Reads the last traceback in what an app has printed."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# the last line, after an indented one: "Name: text", but not "INFO: text" of a log
_ERROR = re.compile(r"(?![A-Z]+:)[A-Za-z_][\w.]*(?:: .*)?")
_FRAME = re.compile(r'^\s*File "(.+)", line (\d+)(?:, in (.+))?$')
_HEAD = "Traceback (most recent call last):"
# gunicorn's master may print it once a worker has printed the app's error
_CONSEQUENCE = "gunicorn.errors.HaltServer: "


@dataclass(frozen=True)
class Frame:
    """One call of a traceback."""

    file: str
    line: int
    function: str
    """`<module>` for a line that runs on import."""
    code: str
    """The line, or "" if the traceback does not have it."""

    def is_in(self, *parts: str) -> bool:
        """Return whether the path of the file contains one of these."""
        return any(part in self.file for part in parts)


@dataclass(frozen=True)
class Traceback:
    """An error, and the calls that led to it, the innermost last."""

    error: str
    """The last line: the name of the error and its text."""
    frames: tuple[Frame, ...]
    mixed: bool
    """Whether another thread or process has printed lines among these."""

    def own(self, folder: Path) -> tuple[Frame, Frame | None] | None:
        """Return the app's last call, and the one that it leads to, if any.

        None: that is not certain.
        """
        if self.mixed:
            return None
        for index in range(len(self.frames) - 1, -1, -1):
            if relative_to(folder, self.frames[index]) is not None:
                after = self.frames[index + 1 : index + 2]
                return self.frames[index], after[0] if after else None
        return None

    def summary(self, folder: Path) -> str:
        """Return a sentence with the error, after the line of the app's last call."""
        end = "" if self.error.endswith((".", "?", "!")) else "."
        if (own := self.own(folder)) is None:
            return f"{self.error}{end}"
        file = relative_to(folder, own[0])
        return f"{file}, line {own[0].line}: {self.error}{end}"


def relative_to(folder: Path, frame: Frame) -> Path | None:
    """Return the path of the app's own file; None: the file is not the app's."""
    file = Path(frame.file)
    for parent in (folder, folder.resolve()):
        # an environment in the app's folder is not the app
        if file.is_relative_to(parent) and "site-packages" not in file.parts:
            return file.relative_to(parent)
    return None


def last(printed: str) -> Traceback | None:
    """Return the last traceback in a text that names a cause; None: there is none."""
    lines = printed.splitlines()
    for end in range(len(lines) - 1, 0, -1):
        if _is_end(lines, end) and not lines[end].startswith(_CONSEQUENCE):
            own_lines, mixed = _lines_of(lines[:end])
            return Traceback(lines[end], tuple(_frames(own_lines)), mixed)
    return None


def _is_end(lines: list[str], index: int) -> bool:
    return lines[index - 1].startswith(" ") and bool(_ERROR.fullmatch(lines[index]))


def _lines_of(lines: list[str]) -> tuple[list[str], bool]:
    """Return the lines of the traceback whose error is the next line.

    Several threads and processes share the output. A traceback that is printed as a
    whole may stand inside this one. If two are mixed line by line, return True too.
    """
    found: list[str] = []
    inside = 0
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].endswith(_HEAD):
            if inside == 0:
                above = lines[:index]
                mixed = bool(above) and above[-1].endswith(_HEAD)
                return found[::-1], mixed or any(map(_FRAME.match, _indented(above)))
            inside -= 1
        elif index and _is_end(lines, index):
            inside += 1
        elif inside == 0:
            found.append(lines[index])
    # Python prints no head above a SyntaxError of the program itself
    return _indented(lines), False


def _indented(lines: list[str]) -> list[str]:
    """Return the last lines, as far as they are indented."""
    run = itertools.takewhile(lambda line: line.startswith(" "), reversed(lines))
    return [*run][::-1]


def _frames(lines: list[str]) -> Iterator[Frame]:
    for line, below in itertools.pairwise([*lines, ""]):
        if found := _FRAME.match(line):
            code = "" if _FRAME.match(below) or below[:1] != " " else below.strip()
            yield Frame(found[1], int(found[2]), found[3] or "", code)
