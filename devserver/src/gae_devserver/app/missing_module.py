"""What to do when the app has died because Python did not find a module."""

import re
from _compat_pickle import IMPORT_MAPPING
from pathlib import Path

from gae_devserver.app.hints import Hints
from gae_devserver.config.runtimes import GUIDE

_NOT_FOUND = re.compile(
    # in a traceback, or from python -m
    r"(?:\bModuleNotFoundError|^\S*python[\d.]*): No module named '?(?P<module>[\w.]+)"
    # part of a namespace package
    r"|\bImportError: cannot import name '(?P<part>[a-z]\w*)' from '"
    r"(?P<package>google\.(?:cloud|appengine(?:\.ext|\.api)?))'",
    re.MULTILINE,
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


def advice(printed: str, folder: Path, entrypoint: str, hints: Hints) -> str | None:
    """Return what is missing and what to do; None: another error ended the app."""
    found = list(_NOT_FOUND.finditer(printed))
    if not found:
        return None
    last = found[-1]  # the app caught the earlier ones, or they led to this one
    name = last["module"] or f"{last['package']}.{last['part']}"
    top = name.partition(".")[0]
    if _is_in(folder, name):
        return None  # it exists, but Python looks elsewhere
    missing = f"There is no module {name} in {folder}"
    if _is_in(folder, top):
        return f"{missing}. Add it, or fix the import."
    # MODULE:APP in the entrypoint
    if top in re.findall(r"(\w+)[\w.]*:", entrypoint):
        return (
            f"{missing}, but the entrypoint needs it. Add the module, or fix the "
            f"entrypoint: {entrypoint}"
        )
    if top in hints.modules:
        return f"{missing}. {hints.modules[top]}"
    if (new := _REPLACED.get(name)) is not None:
        use = f"Use {new}" if new else "It has no replacement"
        return (
            f"{name} is a module of an earlier Python. {use}. Change the import, and "
            f"do not install a package of that name. For Python 2 code, see {GUIDE}."
        )
    if name.startswith(("google.appengine.", "webapp2")):
        return f"App Engine has no {name} for Python 3: see {GUIDE}."
    if f"{name}.".startswith("google.cloud.ndb."):
        how = hints.add_package("google-cloud-ndb", folder / "requirements.txt")
        return f"{name} is not installed. To use Cloud NDB, {how}"
    return (
        f"{missing} or in an installed package. If it belongs to the app, add it. "
        f"{about_packages(folder, hints)}"
    )


def about_packages(folder: Path, hints: Hints) -> str:
    """Return what to do about a package that is not installed."""
    which = "that package (its name may differ)"
    how = hints.add_package(which, folder / "requirements.txt")
    return f"If a package provides it, {how}"


def _is_in(folder: Path, name: str) -> bool:
    path = folder.joinpath(*name.split("."))
    return path.is_dir() or path.with_name(f"{path.name}.py").exists()
