"""What to do when the app has died because Python did not find a module."""

import re
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Mapping
from pathlib import Path

from gae_devserver.app.advice import packages, releases
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.python import Python
from gae_devserver.config.runtimes import GUIDE

_NOT_FOUND = re.compile(
    # in a traceback, or from python -m
    r"(?:\bModuleNotFoundError|^\S*python[\d.]*): No module named '?(?P<module>[\w.]+)"
    # from a server that imports the module of the entrypoint
    r"|^\d+\. No module named '(?P<waitress>[\w.]+)'$"
    r"|(?:^Error: |\bASGI app\. )Could not import "
    r"(?:module )?[\"'](?P<server>[\w.]+)[\"']"
    # part of a namespace package
    r"|\bImportError: cannot import name '(?P<part>[a-z]\w*)' from '"
    r"(?P<package>google(?:\.cloud|\.appengine(?:\.ext|\.api)?)?)'"
    # from gunicorn, whose worker is in a package
    r"|\bRuntimeError: (?P<worker>[a-z]+) worker requires ",
    re.MULTILINE,
)
_FILE = re.compile(r'^ +File "(.+)", line \d+', re.MULTILINE)
# the statement in the line above an error
_STATEMENT = re.compile(
    r"^ +(?:from (?P<package>[\w.]+) import (?P<part>\w+)|import (?P<module>[\w.]+))"
)
# Standard modules that were renamed or removed, and their replacements ("" if none). A
# PyPI package of the same name is unrelated.
_REPLACED = {
    **IMPORT_MAPPING,  # what pickle renames when it loads a pickle of Python 2
    **dict.fromkeys(("asynchat", "asyncore"), "asyncio"),
    **dict.fromkeys(("crypt", "distutils", "imghdr", "sets", "smtpd", "telnetlib"), ""),
    **dict.fromkeys(("dummy_thread", "dummy_threading", "thread"), "threading"),
    **dict.fromkeys(("exceptions", "future_builtins"), "builtins"),
    **dict.fromkeys(("md5", "sha"), "hashlib"),
    **dict.fromkeys(("MimeWriter", "mimetools", "mimify", "rfc822"), "email"),
    **dict.fromkeys(("pipes", "popen2"), "subprocess"),
    "cgi": "urllib.parse",
    "cgitb": "traceback",
    "email.Encoders": "email.encoders",
    "email.MIMEBase": "email.mime.base",
    "email.MIMEMultipart": "email.mime.multipart",
    "email.MIMEText": "email.mime.text",
    "email.Utils": "email.utils",
    "imp": "importlib",
    "uu": "base64",
}


# modules that came with a version
_SINCE = {
    "annotationlib": (3, 14),
    "compression": (3, 14),
    "graphlib": (3, 9),
    "string.templatelib": (3, 14),
    "tomllib": (3, 11),
    "zoneinfo": (3, 9),
}


def advice(
    printed: str,
    entrypoint: str,
    installation: Installation,
    hints: Mapping[str, str],
) -> str | None:
    """Return what is missing and what to do; None: another error ended the app.

    `hints` has a sentence for a module's top-level name.
    """
    found = list(_NOT_FOUND.finditer(printed))
    if not found:
        return None
    last = found[-1]  # the app caught the earlier ones, or they led to this one
    folder, python = installation.folder, installation.python
    name = _name(last, printed)
    top = name.partition(".")[0]
    if _is_in(folder, name):
        return None  # it exists, but Python looks elsewhere
    missing = f"There is no module {name} in {folder}"
    if _is_in(folder, top):
        return f"{missing}. Add it, or fix the import."
    # MODULE:APP in the entrypoint
    if last["server"] or top in re.findall(r"(\w+)[\w.]*:", entrypoint):
        return (
            f"{missing}, but the entrypoint needs it. Add the module, or fix the "
            f"entrypoint: {entrypoint}"
        )
    if top in hints:
        return f"{missing}. {hints[top]}"
    if (new := _REPLACED.get(name)) is not None:
        files = _FILE.findall(printed[: last.start()])
        if files and (importer := releases.package_of(files[-1])):
            uses = f"{importer} imports {name}, a module of an earlier Python"
            fix = releases.made_for_an_earlier_python(importer, str(python))
            return f"{uses}. {fix}"
        use = f"In {python}, use {new}" if new else f"{python} has no replacement"
        return (
            f"{name} is a module of an earlier Python. {use}. Change the import, and "
            f"do not install a package of that name. For Python 2 code, see {GUIDE}."
        )
    if python.version < (since := _SINCE.get(name, (3, 0))):
        return (
            f"{name} is a module of {Python(python.executable, since)} and newer, but "
            f"the app runs on {python}. Choose a newer runtime."
        )
    if name.startswith(("google.appengine.", "webapp2")):
        return f"App Engine has no {name} for Python 3: see {GUIDE}."
    if package := packages.of_module(name):
        reason = f"{name} is not installed"
        if not installation.lists(package):
            reason += ", and App Engine would not have it either"
        return f"{reason}: {installation.add(package)}"
    return (
        f"{missing} or in an installed package. If it belongs to the app, add it. If a "
        f"package provides it, {installation.add_unknown()}"
    )


def _name(error: re.Match[str], printed: str) -> str:
    """Return the full name of the missing module."""
    if error["part"]:
        return f"{error['package']}.{error['part']}"
    name: str = next(
        filter(None, error.group("module", "waitress", "server", "worker"))
    )
    if name not in ("google", "google.cloud", "google.appengine"):
        return name
    # None of the packages below that name is installed. The statement says which one is
    # missing; from Python 3.11 on, a line with ^^^^ may be below it.
    for line in printed[: error.start()].splitlines()[-2:]:
        if found := _STATEMENT.match(line):
            full = found["module"] or f"{found['package']}.{found['part']}"
            if full.startswith(("google.cloud.", "google.auth", "google.protobuf")):
                return full
    return "google.appengine" if name == "google" else name


def _is_in(folder: Path, name: str) -> bool:
    path = folder.joinpath(*name.split("."))
    return path.is_dir() or path.with_name(f"{path.name}.py").exists()
