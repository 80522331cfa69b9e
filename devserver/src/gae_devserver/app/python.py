"""The Python that the app runs on."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Python:
    """An interpreter, with the packages of its environment."""

    executable: Path
    """Its absolute path; links are kept, because Python finds packages by them."""
    version: tuple[int, int]

    def __str__(self) -> str:
        """Return its name for a message, such as "Python 3.13"."""
        return "Python {}.{}".format(*self.version)

    @property
    def bin_folder(self) -> Path:
        """The folder with the programs of its environment, such as gunicorn."""
        return self.executable.parent


OWN = Python(Path(os.path.abspath(sys.executable)), sys.version_info[:2])  # noqa: PTH100 - resolve() follows links
"""The Python of this process."""
