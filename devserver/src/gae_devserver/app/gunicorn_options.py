"""How an entrypoint starts gunicorn, and where the app listens."""

import re
import shlex
from pathlib import Path

# Like what App Engine runs when app.yaml has no entrypoint: gunicorn's workers have
# threads there, and the limit of 30 seconds is only for an entrypoint of your own. Its
# guide recommends two workers for F1. The task runner sends 16 requests at a time.
# https://cloud.google.com/appengine/docs/standard/python3/runtime#application_startup
DEFAULT_ENTRYPOINT = "gunicorn --workers 2 --threads 8 --timeout 0 main:app"
# With manual or basic scaling, up to 10 threads are those of /_ah/background.
_ONE_WORKER = "gunicorn --workers 1 --threads 20 --timeout 0 main:app"
# another program may start it: "env A=b gunicorn …", "sh -c 'gunicorn …'"
_GUNICORN = re.compile(r"""(?:^|[\s/"'])gunicorn(?=\s)""")
_WORKERS = re.compile(r"\s(?:-w|--workers)[=\s]*(\d+)")
# what --debug sets itself; a thread of /_ah/background needs one of --threads
_ONE_PROCESS = re.compile(r"\s(?:-[wt]\s*|--(?:workers|timeout)[=\s]\s*)\d+(?!\S)")
_THREADS = re.compile(r"\s--threads[=\s]\s*\d+(?!\S)")
# --bind in one word of the options, with the address if it is in the same word. Short
# options can be joined ("-Rb"), and long ones can be abbreviated ("--bi").
_BIND = re.compile(r"(?:(-[DR]*)b|--bi(?:nd?)?(?=$|=))=?(.*)", re.DOTALL)
# --bind in a shell command, up to the address
_BIND_TO = r"""((?:^|\s)["']?-(?:-bi(?:nd?)?[=\s]|[DR]*b=?)\s*["']*)(?:tcp://)?"""
_EVERY = r"""(?:0\.0\.0\.0|0|\[::0?\]|\*)?"""
_LOCAL = r"""(?:127\.0\.0\.1|localhost|\[::1\])"""
# App Engine's port; $PORT is 8080 there. The quotes inside an address are kept.
_APP_ENGINES_PORT = re.compile(
    rf"""{_BIND_TO}(?:{_LOCAL}|{_EVERY})(["']*):(["']*)"""
    r"""(?:8080|\$PORT\b|\$\{PORT\b[^}\s]*\})(?=["'\s;&|)]|$)"""
)
# every address of the machine
_ALL_ADDRESSES = re.compile(rf"""{_BIND_TO}["']*{_EVERY}(?=["']*:["']*[$\d])""")
# the same for any other program; 8080 stays before a single quote, where the shell may
# not expand $PORT
_ANY_HOST = re.compile(r"(?<![\w.])0\.0\.0\.0(?![\w.])")
_ANY_8080 = re.compile(r"""(?<=[\s:=])8080(?=[\s"]|$)""")
# The front takes a URL of 8,170 bytes, and 128 headers, to which it adds App Engine's.
# By default, gunicorn takes a request line of 4,094 bytes and 100 headers.
_LIMITS = (
    *("--limit-request-line", "8190"),
    *("--limit-request-fields", "256"),
    *("--limit-request-field_size", "16384"),
)
_LOOPBACK = re.compile(r"(?:tcp://)?(?:127\.0\.0\.1|localhost|\[::1\]):|unix:")


def default_entrypoint(scaling: str) -> str:
    """Return what runs an app whose app.yaml has no entrypoint."""
    return DEFAULT_ENTRYPOINT if scaling == "automatic" else _ONE_WORKER


def for_debugging(entrypoint: str, scaling: str) -> str:
    """Return an entrypoint whose gunicorn has one process, and all the time it needs.

    It has one thread too, so that one prompt has the terminal, but with manual or basic
    scaling: each background thread is a request.
    """
    program = _GUNICORN.search(entrypoint)
    if program is None:
        return entrypoint
    options = _ONE_PROCESS.sub("", entrypoint[program.end() :])
    if scaling == "automatic":
        options = _THREADS.sub("", options)
    return f"{entrypoint[: program.end()]}{options_for_debugging(scaling)}{options}"


def options_for_debugging(scaling: str) -> str:
    """Return the options that this takes, with a space before them."""
    threads = " --threads 1" if scaling == "automatic" else ""
    return f" --workers 1 --timeout 0{threads}"


def workers(entrypoint: str) -> int:
    """Return how many worker processes the options of an entrypoint ask for."""
    found = _WORKERS.findall(entrypoint) if _GUNICORN.search(entrypoint) else ()
    return int(found[-1]) if found else 1


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


def notice(addresses: list[str] | None, private: str) -> str | None:
    """Return a warning about a port that others can reach.

    `addresses` is the result of the function above; `private` is the address that only
    this user can reach. None: another program than gunicorn listens on $PORT.
    """
    if addresses is None:
        return (
            "the app listens on a port of its own, so every user of this machine can "
            "reach it and forge App Engine's headers. Other machines can too, unless "
            "the app listens only on 127.0.0.1. To avoid this, start a WSGI app with "
            "gunicorn in the entrypoint: here, it listens on a socket that only you "
            "can open."
        )
    others = [address for address in addresses if address != private]
    if not others:
        return None
    elsewhere = (
        "gunicorn does not listen on $PORT, so it gets no requests, here or on App "
        "Engine. Also, "
    )
    if len(others) < len(addresses) or any("$PORT" in address for address in others):
        elsewhere = ""
    network = "" if all(map(_LOOPBACK.match, others)) else "and its network "
    return (
        f"{elsewhere}the entrypoint sets gunicorn's address, so every user of this "
        f"machine {network}can reach {', '.join(others)} and forge App Engine's "
        "headers. Write -b :$PORT in the entrypoint, or no -b: gunicorn then listens "
        "on $PORT on App Engine, and here on a socket that only you can open."
    )


def with_private_address(entrypoint: str, private: str) -> str:
    """Return an entrypoint whose gunicorn listens on `private` in place of $PORT.

    Nor does it listen on all addresses of the machine: other ports are on loopback.
    Another program listens on $PORT in place of 8080, and on 127.0.0.1 in place of
    0.0.0.0.
    """
    program = _GUNICORN.search(entrypoint)
    if program is None:
        return _ANY_8080.sub("$PORT", _ANY_HOST.sub("127.0.0.1", entrypoint))
    options = _APP_ENGINES_PORT.sub(
        lambda bind: f"{bind[1]}{private}{bind[2]}{bind[3]}",
        entrypoint[program.end() :],
    )
    options = _ALL_ADDRESSES.sub(r"\g<1>127.0.0.1", options)
    return entrypoint[: program.end()] + options


def with_limits_and_bind(arguments: str, address: str) -> str:
    """Return GUNICORN_CMD_ARGS with this address in place of all others.

    gunicorn listens on every address in GUNICORN_CMD_ARGS, and ignores those of its
    configuration file. It takes every request that the front forwards, unless these
    arguments or the entrypoint have a lower limit.
    """
    try:
        others, _ = _take_bind(shlex.split(arguments))
    except ValueError:
        # gunicorn reports that it cannot read them
        return arguments
    return shlex.join([*_LIMITS, *others, "--bind", address])


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
