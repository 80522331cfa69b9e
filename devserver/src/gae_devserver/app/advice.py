"""What to do about an app that has ended before it was ready."""

import re
from pathlib import Path

from gae_devserver.app import missing_module
from gae_devserver.app.hints import Hints
from gae_devserver.app.process import DEFAULT_ENTRYPOINT
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.warnings import GUIDE

# the last line of a traceback: the first that is not indented, "Name: text"
_ERROR = re.compile(r"^ .*\n([A-Za-z_][\w.]*(?:: .*)?)$", re.MULTILINE)
_PLACE = re.compile(r'^ *File "(.+)", line (\d+)', re.MULTILINE)
_OF_PYTHON_2 = (
    "Missing parentheses in call to",
    "multiple exception types must be parenthesized",
    "has no attribute 'TaskHandler'",
)


def what_to_do(reason: str, config: AppConfig, hints: Hints, *, reloading: bool) -> str:
    """Return how to go on.

    Args:
        reason: how the app ended, in a line, and the last lines that it printed.
        config: its configuration.
        hints: what the program that started the server knows.
        reloading: whether the server stays, and an edit starts the app again.
    """
    fix = "Fix the error." if reloading else "Fix the error and restart the server."
    summary, _, printed = reason.partition("\n")
    entrypoint = config.entrypoint or DEFAULT_ENTRYPOINT
    advice = missing_module.advice(printed, config.folder, entrypoint, hints)
    if advice is not None:
        return advice
    # 127 is the shell's status for a program that it does not find
    if "exit status 127" in summary:
        if config.entrypoint is None:
            how = hints.add_package("gunicorn", config.folder / "requirements.txt")
            return f"app.yaml has no entrypoint, so the app needs gunicorn: {how}"
        more = missing_module.about_packages(config.folder, hints)
        return (
            "The program that the entrypoint starts was not found (see the output "
            f"above). {more}"
        )
    errors = list(_ERROR.finditer(printed))
    if not errors:
        return f"Its output is above. {fix}"
    error = errors[-1]
    old = any(text in error[1] for text in _OF_PYTHON_2)
    more = f" This is Python 2 code: see {GUIDE}." if old else ""
    where = _place(printed[: error.start(1)], config.folder)
    return f"{where}{error[1].rstrip('.')}.{more} {fix}"


def _place(traceback: str, folder: Path) -> str:
    """Return the last line of the app's own that a traceback names, for a reader."""
    own = (folder, folder.resolve())
    for file, line in reversed(_PLACE.findall(traceback)):
        for parent in own:
            if Path(file).is_relative_to(parent):
                return f"{Path(file).relative_to(parent)}, line {line}: "
    return ""
