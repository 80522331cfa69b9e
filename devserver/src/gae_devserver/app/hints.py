"""What the program that starts the server adds to advice about a broken app."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hints:
    """Advice for an app that does not start."""

    install: str | None = None
    """A sentence about who installs requirements.txt; None: the user does."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """A module's top-level name -> a sentence about what to do if it is missing."""

    def add_package(self, package: str, requirements: object) -> str:
        """Return how to add a package to an app's requirements, and install it."""
        add = f"add {package} to {requirements}"
        if self.install is not None:
            return f"{add} and restart the server. {self.install}"
        install = f"{sys.executable} -m pip install -r {requirements}"
        return f"{add}, run {install}, and restart the server."
