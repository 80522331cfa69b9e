"""Which changes of files an app makes itself whenever it starts."""

import logging
from collections.abc import Collection
from pathlib import Path

logger = logging.getLogger("gae_devserver")

# an app writes data, but not these
_CODE = frozenset((".py", ".yaml", ".yml", ".toml", ".txt"))
_STARTS = 2
"""After how many such starts in a row the app itself writes the file."""
_LATER_SECONDS = 2.0
"""How long a second worker of the app may still start."""


class OwnWrites:
    """Knows the files that one service writes, which must not restart it forever."""

    def __init__(self, label: str) -> None:
        """Begin with none; `label` is put before each line."""
        self._label = label
        self._at_starts: dict[Path, int] = {}
        """How often a file changed during the last starts in a row."""

    def edits(self, files: Collection[Path], started: float) -> set[Path]:
        """Return the files that count as edited, for which the app restarts.

        `started` is when the app has become ready, or infinite if it still starts. A
        file that has changed by then in several starts in a row is the app's own.
        """
        found = set()
        at_start: dict[Path, int] = {}
        for file in files:
            if file.suffix in _CODE or _changed(file) > started + _LATER_SECONDS:
                found.add(file)
                continue
            at_start[file] = self._at_starts.get(file, 0) + 1
            if at_start[file] <= _STARTS:
                found.add(file)
            elif at_start[file] == _STARTS + 1:
                logger.warning(
                    "%sthe app seems to write %s whenever it starts. It restarts for "
                    "later changes of this file alone. Write such files elsewhere, "
                    "for example to TMPDIR",
                    self._label,
                    file.name,
                )
        if found:
            # a restart for another file says nothing about those that are known
            known = {f: n for f, n in self._at_starts.items() if n > _STARTS}
            self._at_starts = known | at_start
        else:
            self._at_starts |= at_start
        return found


def _changed(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except OSError:
        return float("inf")  # an app seldom deletes its files
