"""What is wrong with an entrypoint, from what its programs print."""

import re
from pathlib import Path

from gae_devserver.app.advice import packages
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.gunicorn_options import DEFAULT_ENTRYPOINT
from gae_devserver.config.app_yaml import AppConfig

# sh says "sh: 1: guncorn: not found", bash "bash: line 1: guncorn: command not found",
# and env "env: 'guncorn': No such file or directory".
_NO_PROGRAM = re.compile(
    r": [^\w./-]?([\w./-]+)\W?: (?:(?:command )?not found|No such file)"
)
_NO_PERMISSION = re.compile(r": ([\w./-]+): Permission denied")
_NO_SCRIPT = re.compile(r"python[\d.]*: can't open file '(.+)':")
# how gunicorn, uvicorn, waitress and hypercorn say that there is no APP of MODULE:APP
_NO_ATTRIBUTE = (
    re.compile(r"Failed to find attribute '(?P<app>\w+)' in '(?P<module>[\w.]+)'"),
    re.compile(r'Attribute "(?P<app>[\w.]+)" not found in module "(?P<module>[\w.]+)"'),
    re.compile(r"(?m)^1\. module '(?P<module>[\w.]+)' has no attribute '(?P<app>\w+)'"),
    re.compile(r"Cannot load application from '(?P<module>[\w.]+):(?P<app>\w+)', app"),
)
_PORT_IN_USE = re.compile("address already in use", re.IGNORECASE)
_NOT_CALLABLE = re.compile(
    r"Application object must be callable|Failed to parse '.*' as an attribute"
)
# --port=8080, -p 8080, :8080
_FIXED_PORT = re.compile(r"(?:\s--port[= ]|\s-p ?|:)(\d{2,5})(?=[\s\"']|$)")
# such as "Uvicorn running on http://127.0.0.1:8000"
_LISTENS = re.compile(
    r"\b(?:running|serving|listening|server)\b.*?\bhttps?://[^/\s]*?:(\d+)",
    re.IGNORECASE,
)


def what_to_do(
    summary: str, printed: str, config: AppConfig, installation: Installation
) -> str | None:
    """Return what to do about it; None: the entrypoint has started the app.

    `summary` is a line with the exit status.
    """
    yaml = config.path.name
    started = config.entrypoint or DEFAULT_ENTRYPOINT
    # the shell's exit statuses for a program that it cannot find, and cannot start
    if "exit status 127" in summary:
        return _no_program(printed, config, installation)
    if "exit status 126" in summary and (found := _NO_PERMISSION.search(printed)):
        return (
            f"The entrypoint in {yaml} starts {found[1]}, which is not executable. "
            f"Run chmod +x on it, or start it with its program: sh {found[1]}"
        )
    if found := _NO_SCRIPT.search(printed):
        return (
            f"There is no {found[1]}, but the entrypoint in {yaml} needs it: "
            f"{started}. Fix the entrypoint."
        )
    for pattern in _NO_ATTRIBUTE:
        if found := pattern.search(printed):
            file = f"{found['module'].replace('.', '/')}.py"
            exists = (installation.folder / file).exists()
            where = file if exists else found["module"]
            return (
                f"{where} has no '{found['app']}', but the app starts with: {started}. "
                f"Rename the variable in {where}, or fix the entrypoint in {yaml}."
            )
    if _PORT_IN_USE.search(printed):
        return (
            "The app listens on a port that another program uses, such as this server. "
            "It must listen on $PORT, which is 8080 on App Engine, and a free port "
            "here. In Python, that is int(os.environ['PORT'])."
        )
    if _NOT_CALLABLE.search(printed):
        return (
            f"The app that the entrypoint names is not callable: {started}. "
            "The entrypoint must name a WSGI app, such as a Flask object."
        )
    return None


def not_listening(entrypoint: str, port: int, printed: str) -> str:
    """Return the likely reason why the app does not listen on $PORT, or ""."""
    listens = [number for number in _LISTENS.findall(printed) if int(number) != port]
    if named := _FIXED_PORT.search(entrypoint):
        where = f"The entrypoint sets port {named[1]}: {entrypoint}."
    elif listens:
        where = f"It has printed that it listens on port {listens[-1]}."
    else:
        return ""
    return (
        f"{where} The app must listen on $PORT, which App Engine sets, and the server "
        "too. Write $PORT in the entrypoint, or read it in the app"
    )


def _no_program(printed: str, config: AppConfig, installation: Installation) -> str:
    yaml = config.path.name
    if config.entrypoint is None:
        add = installation.add("gunicorn")
        return f"{yaml} has no entrypoint, so the app needs gunicorn: {add}"
    program = ["a program", *_NO_PROGRAM.findall(printed)][-1]
    reason = (
        f"The entrypoint in {yaml} starts {program}, which was not found: "
        f"{config.entrypoint}."
    )
    name = Path(program).name
    package = packages.of_program(name)
    if "/" in program and package:
        return (
            f"{reason} Write {name} without its folder: App Engine finds the programs "
            "of installed packages in PATH."
        )
    if package:
        return f"{reason} To install it, {installation.add(package)}"
    add = installation.add_unknown()
    return f"{reason} Fix the entrypoint. If a package provides it, {add}"
