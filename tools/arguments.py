"""What the user types after `--`, and clear errors for wrong words."""

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

# nox would take a word before -- for a session: in `-s serve flask`, the second word is
# one, which tests for minutes.
EXAMPLES = {
    "serve": "-s serve -- flask",
    "copy": "-s copy -- flask ../my_app",
    "deploy": "-s deploy -- flask --project my-project",
}
CHOOSING = {"-s", "-e", "--session", "--sessions", "-k", "--keywords", "-t", "--tags"}
NOT_OF_NOX = {"--port", "--host", "--server", "--storage", "--faults", "--project"}


def check(arguments: list[str]) -> None:
    """End with a line if -s is missing, or --."""
    until = arguments.index("--") if "--" in arguments else len(arguments)
    words = arguments[:until]
    for session in EXAMPLES.keys() & {*words}:
        place = words.index(session)
        named = {"-s", "-e", "--session", "--sessions"} & {*words[:place]}
        others = [x for x in words[place + 1 : place + 2] if not x.startswith("-")]
        if not named or others or NOT_OF_NOX & {x.partition("=")[0] for x in words}:
            fail(
                f"write -s before {session} and -- after it, for example: "
                f"python3 noxfile.py {EXAMPLES[session]}"
            )
    if not CHOOSING & {*words} and {*words, *arguments[until:][1:2]} & {*APPS}:
        fail(
            "name a session before the app, for example: "
            f"python3 noxfile.py {EXAMPLES['serve']}"
        )


class Options(argparse.ArgumentParser):
    """What a session takes after --; a mistake in it is one line, with a hint."""

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
        """End the session, where argparse would end nox."""
        self.session.error(f"{message}. {self.hint}")


def app_name(text: str) -> str:
    """Return the app that a text names, or its folder."""
    app = text.rstrip("/").lower().removesuffix("_app")
    if app not in APPS:
        raise argparse.ArgumentTypeError(f"there is no app {text!r}")
    return app


def app_folder(options: Options, text: str) -> Path:
    """Return the folder of the app that a user names; it is absolute if not a sample's.

    `shared` may be missing in it: a copy that was not made by `nox -s copy` can lack
    what the link stands for, and git on Windows makes a text file of a link.
    """
    if sys.platform == "win32":  # before advice about the link, which would not help
        options.session.error(WINDOWS)
    own = typed(options.session, text)
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
            options.error(f"{error}, and there is no file {own / 'app.yaml'}")
        folder = own
    shared = folder / "shared"
    broken = shared.is_symlink() and not shared.exists()
    if broken or (shared.is_file() and shared.read_bytes().strip() == b"../shared"):
        what = "a broken link" if broken else "a text file, not a folder"
        options.session.error(
            f"{shared} is {what}. Make a copy of the app that contains this folder: "
            f"python3 noxfile.py {EXAMPLES['copy']}"
        )
    return folder


def typed(session: nox.Session, text: str) -> Path:
    """Return a path that is relative to where the user is: nox has changed folders."""
    path = Path(session.invoked_from, text)
    return path.resolve() if ".." in path.parts else path


def not_empty(text: str) -> str:
    """Return a text; refuse an empty one, which an unset variable of a shell gives."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the value is empty")
    return text


def base_url(text: str) -> str:
    """Return the address of a server; refuse what is none."""
    parts = urlsplit(text)
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username)
    here = parts.hostname and parts.port != 0  # a port that is no number raises
    if parts.scheme not in ("http", "https") or not here or any(rest):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not have the form http(s)://HOST"
        )
    return text.rstrip("/")
