"""Where a gunicorn listens: what an entrypoint says of it, and how that is changed."""

import re
import shlex
from pathlib import Path

# the program, which may stand behind another: "env A=b gunicorn", "sh -c 'gunicorn"
_GUNICORN = re.compile(r"""(?:^|[\s/"'])gunicorn(?=\s)""")
# The option that says where to listen, and the address if it is in the same word. Short
# options can be written as one ("-Rb"), and long ones can be cut ("--bi").
_BIND = re.compile(r"(?:(-[DR]*)b|--bi(?:nd?)?(?=$|=))=?(.*)", re.DOTALL)
# the same in a line for the shell, up to the address
_BIND_TO = r"""((?:^|\s)["']?-(?:-bi(?:nd?)?[=\s]|[DR]*b=?)\s*["']*(?:tcp://)?["']*)"""
# every address of the machine
_ALL_ADDRESSES = re.compile(
    _BIND_TO + r"""(?:0\.0\.0\.0|0|\[::0?\]|\*)?(?=["']*:["']*[$\d])"""
)
# on App Engine, $PORT is always this; in quotes, the shell might not see a $
_APP_ENGINES_PORT = re.compile(_BIND_TO + r"""([^\s"']*:)8080(?=\s|$)""")
_LOOPBACK = re.compile(r"(?:tcp://)?(?:127\.0\.0\.1|localhost|\[::1\]):|unix:")


def options_of(entrypoint: str) -> list[str] | None:
    """Return what stands after gunicorn; None: the entrypoint is something else."""
    try:
        words = shlex.split(entrypoint)
    except ValueError:
        return None
    if words[1:3] == ["-m", "gunicorn"]:
        words = words[2:]
    return words[1:] if words and Path(words[0]).name == "gunicorn" else None


def has_bind(options: list[str]) -> bool:
    """Say whether options tell gunicorn where to listen."""
    return bool(_take_bind(options)[1])


def is_on_loopback(options: list[str]) -> bool:
    """Say whether all addresses that options name are this machine's alone."""
    return all(map(_LOOPBACK.match, _take_bind(options)[1]))


def is_on_port(options: list[str]) -> bool:
    """Say whether one of the addresses that options name has $PORT."""
    return any(re.search(r"\$\{?PORT\b", x) for x in _take_bind(options)[1])


def on_loopback(entrypoint: str) -> str:
    """Return an entrypoint whose gunicorn does not listen on all addresses.

    One that listens on App Engine's port gets $PORT, which is another one here.
    """
    program = _GUNICORN.search(entrypoint)
    if program is None:
        return entrypoint
    options = _ALL_ADDRESSES.sub(r"\g<1>127.0.0.1", entrypoint[program.end() :])
    options = _APP_ENGINES_PORT.sub(r"\g<1>\g<2>$PORT", options)
    return entrypoint[: program.end()] + options


def with_bind(arguments: str, address: str) -> str:
    """Return GUNICORN_CMD_ARGS with this one address, whatever it had.

    It wins over a configuration file, but among its own addresses none wins: gunicorn
    would listen on all of them.
    """
    try:
        others, _ = _take_bind(shlex.split(arguments))
    except ValueError:
        # gunicorn cannot read it either, and says so
        return arguments
    return shlex.join([*others, "--bind", address])


def _take_bind(options: list[str]) -> tuple[list[str], list[str]]:
    """Return the options that say nothing of where to listen, and the addresses."""
    others, addresses = [], []
    words = iter(options)
    for word in words:
        match = _BIND.match(word)
        if match is None:
            others.append(word)
            continue
        if match[1] and match[1] != "-":
            others.append(match[1])
        in_word = match[2] or word.endswith("=")
        addresses.append(match[2] if in_word else next(words, ""))
    return others, addresses
