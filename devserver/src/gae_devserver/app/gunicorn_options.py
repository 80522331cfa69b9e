"""Where gunicorn listens: what an entrypoint says, and how to change it."""

import re
import shlex
from pathlib import Path

# another program may start it: "env A=b gunicorn …", "sh -c 'gunicorn …'"
_GUNICORN = re.compile(r"""(?:^|[\s/"'])gunicorn(?=\s)""")
# --bind in one word of the options, with the address if it is in the same word. Short
# options can be joined ("-Rb"), and long ones can be abbreviated ("--bi").
_BIND = re.compile(r"(?:(-[DR]*)b|--bi(?:nd?)?(?=$|=))=?(.*)", re.DOTALL)
# --bind in a shell command, up to the address
_BIND_TO = r"""((?:^|\s)["']?-(?:-bi(?:nd?)?[=\s]|[DR]*b=?)\s*["']*(?:tcp://)?["']*)"""
# every address of the machine
_ALL_ADDRESSES = re.compile(
    _BIND_TO + r"""(?:0\.0\.0\.0|0|\[::0?\]|\*)?(?=["']*:["']*[$\d])"""
)
# App Engine's $PORT is 8080. Only unquoted: in single quotes, $PORT is not expanded.
_APP_ENGINES_PORT = re.compile(_BIND_TO + r"""([^\s"']*:)8080(?=\s|$)""")
_LOOPBACK = re.compile(r"(?:tcp://)?(?:127\.0\.0\.1|localhost|\[::1\]):|unix:")


def addresses(entrypoint: str) -> list[str] | None:
    """Return where the options of an entrypoint have gunicorn listen.

    The list is empty without --bind. None: the entrypoint does not start gunicorn.
    """
    try:
        words = shlex.split(entrypoint)
    except ValueError:
        return None
    if words[1:3] == ["-m", "gunicorn"]:
        words = words[2:]
    if not words or Path(words[0]).name != "gunicorn":
        return None
    return _take_bind(words[1:])[1]


def notice(addresses: list[str] | None) -> str | None:
    """Return a warning about the app's own port, from the result of `addresses`."""
    if addresses == []:
        return None
    if addresses is None:
        return (
            "the app listens on a port of its own, so every user of this machine can "
            "reach it and forge App Engine's headers. Other machines can too, unless "
            "the app listens only on 127.0.0.1."
        )
    elsewhere = (
        "gunicorn does not listen on $PORT, so it gets no requests, here or on App "
        "Engine. Also, "
    )
    if any(re.search(r"\$\{?PORT\b", address) for address in addresses):
        elsewhere = ""
    network = "" if all(map(_LOOPBACK.match, addresses)) else "and its network "
    return (
        f"{elsewhere}the entrypoint sets gunicorn's address, so every user of this "
        f"machine {network}can reach the app's own port and forge App Engine's "
        "headers. Remove -b from the entrypoint: gunicorn then listens on $PORT on "
        "App Engine, and here on a socket that only you can open."
    )


def on_loopback(entrypoint: str) -> str:
    """Return an entrypoint whose gunicorn does not listen on all addresses.

    Port 8080 becomes $PORT: the dev server chooses another port.
    """
    program = _GUNICORN.search(entrypoint)
    if program is None:
        return entrypoint
    options = _ALL_ADDRESSES.sub(r"\g<1>127.0.0.1", entrypoint[program.end() :])
    options = _APP_ENGINES_PORT.sub(r"\g<1>\g<2>$PORT", options)
    return entrypoint[: program.end()] + options


def with_bind(arguments: str, address: str) -> str:
    """Return GUNICORN_CMD_ARGS with this address in place of all others.

    gunicorn listens on every address in GUNICORN_CMD_ARGS, and ignores those of its
    configuration file.
    """
    try:
        others, _ = _take_bind(shlex.split(arguments))
    except ValueError:
        # gunicorn reports that it cannot read them
        return arguments
    return shlex.join([*others, "--bind", address])


def _take_bind(options: list[str]) -> tuple[list[str], list[str]]:
    """Return the options without --bind, and the addresses of --bind."""
    others, found = [], []
    words = iter(options)
    for word in words:
        match = _BIND.match(word)
        if match is None:
            others.append(word)
            continue
        if match[1] and match[1] != "-":
            others.append(match[1])
        in_word = match[2] or word.endswith("=")
        found.append(match[2] if in_word else next(words, ""))
    return others, found
