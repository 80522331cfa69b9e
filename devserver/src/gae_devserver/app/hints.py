"""What the program that starts the server adds to advice about a broken app."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hints:
    """Advice for an app that does not start."""

    server_installs: bool = False
    """Whether the server installs requirements.txt; otherwise the user does."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """A module's top-level name -> a sentence about what to do if it is missing."""
