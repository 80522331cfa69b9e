"""How a package gets into the app's environment."""

import re
from dataclasses import dataclass
from pathlib import Path

from gae_devserver.app.python import Python


@dataclass(frozen=True)
class Installation:
    """Who installs the app's packages, and for which Python."""

    folder: Path
    """The app's folder, with requirements.txt."""
    python: Python
    server_installs: bool
    """Whether the server installs requirements.txt; otherwise the user does."""
    reloading: bool = False
    """Whether the server goes on, and starts the app again after an edit."""

    @property
    def requirements(self) -> Path:
        """The app's list of packages."""
        return self.folder / "requirements.txt"

    def add(self, package: str) -> str:
        """Return how to install this package of the index."""
        if self.lists(package):
            text = f"{self.requirements} lists {package}"
            if self.server_installs:
                return f"{text}: check its version and its markers there."
            return f"{text}, but {self.python} does not have it: run {self._pip}"
        return self._install(f"add this line to {self.requirements}: {package}")

    def add_unknown(self) -> str:
        """Return how to install a package whose name the server does not know."""
        which = "that package (its name may differ)"
        return self._install(f"add {which} to {self.requirements}")

    def lists(self, package: str) -> bool:
        """Return whether requirements.txt has this package."""
        if not self.requirements.is_file():
            return False
        text = self.requirements.read_text("utf-8", "replace")
        names = re.findall(r"^\s*([A-Za-z0-9][\w.-]*)", text, re.MULTILINE)
        return _normal(package) in map(_normal, names)

    def _install(self, add: str) -> str:
        if not self.server_installs:
            return f"{add} and run {self._pip}"
        when = "when you save the file" if self.reloading else "when you start it again"
        return f"{add}. The server installs it {when}."

    @property
    def _pip(self) -> str:
        return (
            f"{self.python.executable} -m pip install -r {self.requirements}. "
            "Then restart the server."
        )


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
