"""Remembers the texts that bundled NDB makes for its debug output.

NDB names the code of each step of each tasklet, in case that something asks for it, and
takes an eighth of its time for that.
"""

from __future__ import annotations

import functools
from typing import Any


def remember(module: Any) -> None:
    """Have `google.appengine.ext.ndb.utils`, just imported, make each text once."""
    own = module.code_info

    class Place:
        """The attributes of a code object that `own` reads."""

        def __init__(self, name: str, file: str) -> None:
            self.co_name = name
            self.co_filename = file

    # not the code object itself, as it would stay in memory
    @functools.lru_cache(maxsize=1024)
    def text(name: str, file: str, line: int) -> Any:
        return own(Place(name, file), line)

    @functools.wraps(own)
    def code_info(code: Any, lineno: int | None = None) -> Any:
        if not code or not module.DEBUG:
            return own(code, lineno)
        line = code.co_firstlineno if lineno is None else lineno
        return text(code.co_name, code.co_filename, line)

    module.code_info = code_info
