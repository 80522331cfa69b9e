"""Advice that the program starting the server adds to error messages."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hints:
    """Advice for the user of an app that does not start."""

    install: str | None = None
    """Who installs what requirements.txt names, as a sentence; None: the user does."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """The top-level name of a module -> what to do if it is missing, as a sentence."""

    def add_package(self, package: str, requirements: object) -> str:
        """Return how to add a package to an app's requirements, and install it."""
        add = f"add {package} to {requirements}"
        if self.install is not None:
            return f"{add} and restart the server. {self.install}"
        install = f"{sys.executable} -m pip install -r {requirements}"
        return f"{add}, run {install}, and restart the server."
