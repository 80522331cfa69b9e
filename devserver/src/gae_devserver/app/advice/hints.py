"""What the program that starts the server adds to advice about a broken app."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hints:
    """Advice for an app that does not start."""

    modules: Mapping[str, str] = field(default_factory=dict)
    """A module's top-level name -> a sentence about what to do if it is missing."""
