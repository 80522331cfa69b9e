"""How a package gets into the app's environment."""

from dataclasses import dataclass
from pathlib import Path

from gae_devserver.app.python import Python
from gae_devserver.config import requirements


@dataclass(frozen=True)
class Installation:
    """Who installs the app's packages, and for which Python."""

    folder: Path
    """The app's folder, with the list of its packages."""
    python: Python
    server_installs: bool
    """Whether the server installs that list; otherwise the user does."""
    reloading: bool = False
    """Whether the server keeps running, and starts the app again after an edit."""

    @property
    def file(self) -> Path:
        """The list: requirements.txt, or pyproject.toml."""
        return requirements.list_in(self.folder)

    def add(self, package: str) -> str:
        """Return how to install this package of the index."""
        if self.lists(package):
            text = f"{self.file} lists {package}"
            if self.server_installs:
                return f"{text}: check its version and its markers there."
            return f"{text}, but {self.python} does not have it: run {self._pip}"
        if self.file.suffix == ".toml":
            return self._install(f"add {package} to the dependencies in {self.file}")
        return self._install(f"add this line to {self.file}: {package}")

    def add_unknown(self) -> str:
        """Return how to install a package whose name the server does not know."""
        which = "that package (its name may differ)"
        return self._install(f"add {which} to {self.file}")

    def lists(self, package: str) -> bool:
        """Return whether the list has this package."""
        return requirements.lists(self.file, package)

    def _install(self, add: str) -> str:
        if not self.server_installs:
            return f"{add} and run {self._pip}"
        when = "when you save the file" if self.reloading else "when you start it again"
        return f"{add}. The server installs it {when}."

    @property
    def _pip(self) -> str:
        arguments = requirements.pip_arguments(self.file)
        return (
            f"{self.python.executable} -m pip install {arguments}. Then restart the "
            "server."
        )
