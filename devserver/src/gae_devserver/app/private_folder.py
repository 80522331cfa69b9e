"""Folders for Unix sockets, which only this user can enter."""

import os
import re
import tempfile
from pathlib import Path

# the limit for the path of a socket is 104 bytes on macOS, 108 on Linux
_MAX_SOCKET_PATH = 100
# bytes for a slash and the name of a socket in the folder
_LONGEST_NAME = 9


def make_private_folder() -> Path:
    """Return a new folder that only this user can enter, for sockets.

    Its path is short, for the limit on the path of a socket, and needs no quotes in a
    shell.

    Raises:
        OSError: there is no place for such a folder.
    """
    for parent in (None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="gae-", dir=parent))
        is_short = len(os.fsencode(folder)) + _LONGEST_NAME < _MAX_SOCKET_PATH
        if is_short and re.fullmatch(r"[\w/.+-]+", str(folder)):
            return folder
        folder.rmdir()
    raise OSError(
        f"the server's socket cannot be in {folder.parent}. Set TMPDIR to a folder "
        "with a short path"
    )
