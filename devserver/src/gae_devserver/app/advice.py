"""What to do if the app has ended before it was ready."""

import re
from pathlib import Path

from gae_devserver.app import missing_module
from gae_devserver.app.hints import Hints
from gae_devserver.app.process import DEFAULT_ENTRYPOINT
from gae_devserver.config.app_yaml import AppConfig
from gae_devserver.config.runtimes import GUIDE

# the last line of a traceback: "Name: text" after an indented line
_ERROR = re.compile(r"^ .*\n([A-Za-z_][\w.]*(?:: .*)?)$", re.MULTILINE)
_PLACE = re.compile(r'^ *File "(.+)", line (\d+)', re.MULTILINE)
# sh says "sh: 1: guncorn: not found", bash "bash: line 1: guncorn: command not found",
# and env "env: 'guncorn': No such file or directory".
_NO_PROGRAM = re.compile(r": \W?([\w./-]+)\W?: (?:(?:command )?not found|No such file)")
_NO_ATTRIBUTE = re.compile(r"Failed to find attribute '(\w+)' in '([\w.]+)'")
_PYTHON_2 = f"This is Python 2 code: see {GUIDE}."
_ON_IMPORT = (
    "The app makes this call of google.appengine on import, outside a request. Move it "
    "into a view or a task."
)
# text in an error -> what it means
_MEANINGS = {
    "Missing parentheses in call to": _PYTHON_2,
    "multiple exception types must be parenthesized": _PYTHON_2,
    "has no attribute 'TaskHandler'": _PYTHON_2,
    "without active security ticket": _ON_IMPORT,
    "No api proxy found for service": _ON_IMPORT,
}


def what_to_do(reason: str, config: AppConfig, hints: Hints, *, reloading: bool) -> str:
    """Return what the user can do about it.

    `reason` is one line that says how the app ended, and then what it printed. While
    `reloading`, the server starts the app again after an edit.
    """
    fix = "Fix the error." if reloading else "Fix the error and restart the server."
    summary, _, printed = reason.partition("\n")
    entrypoint = config.entrypoint or DEFAULT_ENTRYPOINT
    yaml = config.path.name
    advice = missing_module.advice(printed, config.folder, entrypoint, hints)
    if advice is not None:
        return advice
    # the shell's exit status for a program that it does not find
    if "exit status 127" in summary:
        if config.entrypoint is None:
            how = hints.add_package("gunicorn", config.folder / "requirements.txt")
            return f"{yaml} has no entrypoint, so the app needs gunicorn: {how}"
        program = ["a program", *_NO_PROGRAM.findall(printed)][-1]
        more = missing_module.about_packages(config.folder, hints)
        return (
            f"The entrypoint in {yaml} starts {program}, which was not found: "
            f"{entrypoint}. Fix the entrypoint. {more}"
        )
    if missing := _NO_ATTRIBUTE.search(printed):
        name, module = missing.groups()
        file = f"{module.replace('.', '/')}.py"
        where = file if (config.folder / file).exists() else module
        return (
            f"{where} has no '{name}', but the app starts with: {entrypoint}. Rename "
            f"the variable in {where}, or fix the entrypoint in {yaml}."
        )
    errors = list(_ERROR.finditer(printed))
    if not errors and "exit status 0 " in summary:
        return (
            "The entrypoint ended without an error. It must start a server that "
            f"listens on $PORT, as gunicorn does: {entrypoint}"
        )
    if not errors:
        output = "Its output is above." if printed.strip() else "It printed nothing."
        return f"{output} {fix}"
    error = errors[-1]
    where = _place(printed[: error.start(1)], config.folder)
    end = "" if error[1].endswith((".", "?", "!")) else "."
    meanings = [text for sign, text in _MEANINGS.items() if sign in error[1]]
    return " ".join([f"{where}{error[1]}{end}", *meanings, fix])


def _place(traceback: str, folder: Path) -> str:
    """Return the last line of the app itself in a traceback; "": there is none."""
    for file, line in reversed(_PLACE.findall(traceback)):
        for parent in (folder, folder.resolve()):
            if Path(file).is_relative_to(parent):
                return f"{Path(file).relative_to(parent)}, line {line}: "
    return ""
