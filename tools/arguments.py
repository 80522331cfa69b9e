"""The command line of noxfile.py: what follows `--`, and errors in one line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from tools.bootstrap import fail

if TYPE_CHECKING:
    import nox

APPS = ("flask", "django", "plain_wsgi")
WINDOWS = "the servers and the tests run on Linux and macOS. On Windows, use WSL"
REPOSITORY = Path(__file__).absolute().parent.parent

EXAMPLES = {
    "serve": "-s serve -- flask",
    "copy": "-s copy -- flask ../my_app",
    "deploy": "-s deploy -- flask --project my-project",
}
NAMING = {"-s", "-e", "--session", "--sessions"}
SELECTING = NAMING | {"-k", "--keywords", "-t", "--tags"}
NOT_OF_NOX = {"--port", "--host", "--server", "--storage", "--faults", "--project"}


def check(arguments: list[str]) -> None:
    """Exit with an error if -s or -- is missing.

    Without --, nox takes the second word of `-s serve flask` for a session, which then
    runs tests for minutes.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words, after = arguments[:end], arguments[end + 1 :]
    options = {word.partition("=")[0] for word in words}
    for session in EXAMPLES.keys() & {*words}:
        place = words.index(session)
        is_named = not NAMING.isdisjoint(words[:place])
        has_argument = any(not x.startswith("-") for x in words[place + 1 : place + 2])
        if not is_named or has_argument or NOT_OF_NOX & options:
            fail(
                f"write -s before {session} and -- after it, for example: "
                f"python3 noxfile.py {EXAMPLES[session]}"
            )
    if SELECTING.isdisjoint(words) and not {*words, *after[:1]}.isdisjoint(APPS):
        fail(
            "name a session before the app, for example: "
            f"python3 noxfile.py {EXAMPLES['serve']}"
        )


class Options(argparse.ArgumentParser):
    """The options of a session; a mistake is an error in one line, with a hint."""

    def __init__(
        self, session: nox.Session, hint: str, *, add_help: bool = True
    ) -> None:
        super().__init__(
            prog=f"nox -s {session.name} --",
            epilog=hint,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=add_help,
            allow_abbrev=False,
        )
        self.session = session
        self.hint = hint

    def error(self, message: str) -> NoReturn:
        """End the session only; argparse would end nox."""
        self.session.error(f"{message}. {self.hint}")


def app_name(text: str) -> str:
    """Return the name of a sample, which the user may give as its folder."""
    app = text.rstrip("/").lower().removesuffix("_app")
    if app not in APPS:
        raise argparse.ArgumentTypeError(f"there is no app {text!r}")
    return app


def app_path(options: Options, text: str) -> Path:
    """Return the folder, or the YAML file, that the user names.

    Only the folder of a sample is relative.
    """
    # check this first: on Windows, copying the app does not help
    if sys.platform == "win32":
        options.session.error(WINDOWS)
    own = typed(options.session, text)
    is_yaml = own.suffix in (".yaml", ".yml")
    if own.is_file() and is_yaml:
        _check_shared(options, own.parent)
        return own
    is_app = (own / "app.yaml").is_file()
    try:
        folder = Path(f"{app_name(text)}_app")
        if is_app and not own.samefile(folder):
            options.session.error(
                f"{text} could mean the sample or the app in {own}. For that app, type "
                f"./{own.name}. For the sample, run the command in another folder"
            )
    except argparse.ArgumentTypeError as error:
        if not is_app:
            file = own if is_yaml else own / "app.yaml"
            options.error(f"{error}, and there is no file {file}")
        folder = own
    _check_shared(options, folder)
    return folder


def _check_shared(options: Options, folder: Path) -> None:
    """End the session if `shared` cannot be imported in an app's folder.

    `cp -r` copies the link without the folder, and git on Windows writes a text file
    instead of the link.
    """
    shared = folder / "shared"
    broken = shared.is_symlink() and not shared.exists()
    if broken or (shared.is_file() and shared.read_bytes().strip() == b"../shared"):
        what = "a broken link" if broken else "a text file, not a folder"
        options.session.error(
            f"{shared} is {what}. Make a copy of the app that contains this folder: "
            f"python3 noxfile.py {EXAMPLES['copy']}"
        )


def typed(session: nox.Session, text: str) -> Path:
    """Return a path, relative to the user's folder: nox has changed to its own."""
    path = Path(session.invoked_from, text)
    return path.resolve() if ".." in path.parts else path


def not_empty(text: str) -> str:
    """Return a text; refuse an empty one, the value of an unset shell variable."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the value is empty")
    return text


def base_url(text: str) -> str:
    """Return the URL of a server; refuse any other text, and a URL with a path."""
    parts = urlsplit(text)
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username)
    # parts.port raises ValueError if it is no number; argparse reports that
    has_host = parts.hostname and parts.port != 0
    if parts.scheme not in ("http", "https") or not has_host or any(rest):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not have the form http(s)://HOST"
        )
    return text.rstrip("/")
