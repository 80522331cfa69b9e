"""What to do when the app has died because Python did not find a module."""

import re
import sys
from pathlib import Path

from gae_devserver.app.hints import Hints
from gae_devserver.config.warnings import GUIDE

_NOT_FOUND = re.compile(
    # of a traceback, and of python -m
    r"(?:\bModuleNotFoundError|^\S*python[\d.]*): No module named '?(?P<module>[\w.]+)"
    # of a part of a package that consists of such parts only
    r"|\bImportError: cannot import name '(?P<part>[a-z]\w*)' from '"
    r"(?P<package>google\.(?:cloud|appengine(?:\.ext|\.api)?))'",
    re.MULTILINE,
)

# Python's own modules that were renamed or dropped, with what there is instead. A
# package of the same name on PyPI is a stranger's. Sources: lib2to3.fixes.fix_imports
# and fix_urllib of Python 3.12, PEP 3108, and "Removed" in What's New of 3.12 and 3.13.
OF_PYTHON_2 = {
    **dict.fromkeys(("BaseHTTPServer", "CGIHTTPServer"), "http.server"),
    **dict.fromkeys(("DocXMLRPCServer", "SimpleXMLRPCServer"), "xmlrpc.server"),
    **dict.fromkeys(("MimeWriter", "mimetools", "mimify", "rfc822"), "email"),
    **dict.fromkeys(("StringIO", "cStringIO"), "io"),
    **dict.fromkeys(("UserDict", "UserList", "UserString"), "collections"),
    **dict.fromkeys(("__builtin__", "exceptions", "future_builtins"), "builtins"),
    **dict.fromkeys(("anydbm", "whichdb"), "dbm"),
    **dict.fromkeys(("commands", "popen2"), "subprocess"),
    **dict.fromkeys(("dummy_thread", "dummy_threading", "thread"), "threading"),
    **dict.fromkeys(("md5", "sha"), "hashlib"),
    "ConfigParser": "configparser",
    "Cookie": "http.cookies",
    "HTMLParser": "html.parser",
    "Queue": "queue",
    "SimpleHTTPServer": "http.server",
    "SocketServer": "socketserver",
    "cPickle": "pickle",
    "cookielib": "http.cookiejar",
    "copy_reg": "copyreg",
    "email.Encoders": "email.encoders",
    "email.MIMEBase": "email.mime.base",
    "email.MIMEMultipart": "email.mime.multipart",
    "email.MIMEText": "email.mime.text",
    "email.Utils": "email.utils",
    "htmlentitydefs": "html.entities",
    "httplib": "http.client",
    "robotparser": "urllib.robotparser",
    "sets": "",  # set is built in
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
    "xmlrpclib": "xmlrpc.client",
}
OF_EARLIER_PYTHON_3 = {
    **dict.fromkeys(("asynchat", "asyncore"), "asyncio"),
    **dict.fromkeys(("crypt", "distutils", "imghdr", "smtpd", "telnetlib"), ""),
    "cgi": "urllib.parse",
    "cgitb": "traceback",
    "imp": "importlib",
    "pipes": "subprocess",
    "uu": "base64",
}


def advice(printed: str, folder: Path, entrypoint: str, hints: Hints) -> str | None:
    """Return what to do.

    Args:
        printed: the last lines of the app.
        folder: the app's folder.
        entrypoint: the command that has started the app.
        hints: what is known of modules and of how packages get installed.

    Returns:
        What is missing and how to go on; None: it is not that.
    """
    found = list(_NOT_FOUND.finditer(printed))
    if not found:
        return None
    last = found[-1]  # an earlier one was caught, or led to the last one
    name = last["module"] or f"{last['package']}.{last['part']}"
    return _about(name, folder, entrypoint, hints)


def about_packages(folder: Path, hints: Hints) -> str:
    """Return what to do about a package that is not installed."""
    which = "that package (its name may differ)"
    how = hints.add_package(which, folder / "requirements.txt")
    return f"If a package provides it, {how}"


def _about(name: str, folder: Path, entrypoint: str, hints: Hints) -> str | None:
    top = name.partition(".")[0]
    if _is_in(folder, name):
        return None  # there, but Python looks elsewhere
    if _is_in(folder, top):
        return f"There is no module {name} in {folder}. Add it, or fix the import."
    if top in _named_in(entrypoint):
        return (
            f"There is no module {name} in {folder}, but the entrypoint needs it. Add "
            f"the module, or fix the entrypoint in app.yaml: {entrypoint}"
        )
    if top in hints.modules:
        return f"There is no module {name} in {folder}. {hints.modules[top]}"
    for table, owner, guide in (
        (OF_PYTHON_2, "Python 2", f": see {GUIDE}"),
        (OF_EARLIER_PYTHON_3, "older versions of Python 3", ""),
    ):
        instead = table.get(name, table.get(top))
        if instead is not None:
            here = "Python {}.{}".format(*sys.version_info[:2])
            now = (
                f"In {here}, use {instead}" if instead else f"{here} has no replacement"
            )
            return (
                f"{name} is a module of {owner}. {now}. Change the import, and do not "
                f"install a package of that name{guide}."
            )
    if top in ("webapp2", "webapp2_extras"):
        return f"{name} works only on App Engine's Python 2 runtime: see {GUIDE}."
    if name.startswith("google.appengine."):
        return f"App Engine's SDK for Python 3 has no {name}: see {GUIDE}."
    if f"{name}.".startswith("google.cloud.ndb."):
        how = hints.add_package("google-cloud-ndb", folder / "requirements.txt")
        return f"{name} is not installed. To use Cloud NDB, {how}"
    return (
        f"There is no module {name} in {folder} or in an installed package. If it "
        f"belongs to the app, add it. {about_packages(folder, hints)}"
    )


def _is_in(folder: Path, name: str) -> bool:
    path = folder.joinpath(*name.split("."))
    return path.is_dir() or path.with_name(f"{path.name}.py").exists()


def _named_in(entrypoint: str) -> set[str]:
    """Return the top-level names of what stands as MODULE:APP in the entrypoint."""
    return {name.partition(".")[0] for name in re.findall(r"([\w.]+):", entrypoint)}
