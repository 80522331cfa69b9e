"""The options that a user has given: on the command line, or in pyproject.toml."""

import argparse
import sys
from collections.abc import Sequence

from gae_devserver.command_line import pyproject, values
from gae_devserver.command_line.parsers import (
    PROG,
    UsageError,
    run_parser,
    serve_parser,
    shell_parser,
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; exit with status 2 if there is a mistake in them.

    `command` is the first word if that is "shell" or "run", otherwise None.
    """
    try:
        options = _parse(arguments, argparse.Namespace())
        if options.pyproject and (table := pyproject.find(options.apps)) is not None:
            listed = table.apps
            options = _parse(arguments, _options_in(table))
            options.apps = options.apps or listed
        if not options.apps:
            raise UsageError(
                f"no app is named. Name its folder, such as {PROG} ., or list it as "
                f"apps in [tool.{PROG}] of pyproject.toml"
            )
        if options.command is None:
            _check_ports(options)
    except (UsageError, pyproject.TableError) as error:
        text = str(error).removeprefix("argument ")
        if isinstance(error, UsageError):
            text = f"{text[0].upper()}{text[1:]}. For help, add --help."
        print(f"{PROG}: error: {text}", file=sys.stderr)
        raise SystemExit(2) from None
    return options


def _parse(
    arguments: Sequence[str], defaults: argparse.Namespace
) -> argparse.Namespace:
    """Return the options of the command line; `defaults` has those of a file."""
    first, *others = arguments or [""]
    if first not in ("shell", "run"):
        parser = serve_parser()
        # intermixed: options may stand between two apps
        options, unknown = parser.parse_known_intermixed_args(arguments, defaults)
        for path in options.apps:
            if str(path) in ("shell", "run") and not path.exists():
                parser.error(f"'{path}' must be the first word: {PROG} {path} APP")
        if unknown:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options
    parser = shell_parser() if first == "shell" else run_parser()
    options = parser.parse_args(others, defaults)
    named = []
    while first == "run" and options.script[0].endswith((".yaml", ".yml")):
        # not the script, but the file of another service
        named.append(values.path(others.pop(-len(options.script))))
        options = parser.parse_args(others, defaults)
    options.apps += named
    return options


def _options_in(table: pyproject.Table) -> argparse.Namespace:
    """Return all options as a file has them.

    It may have those of the server and of `shell` and `run`, which take what they have
    in common.

    Raises:
        TableError: there is a mistake in the file.
    """
    parser = serve_parser()
    try:
        # one list of options, with the checks of the command line
        options = parser.parse_args(table.arguments(parser._actions))
    except UsageError as error:
        text = str(error).removeprefix("argument --")
        raise pyproject.TableError(f"{table.where}{text}") from None
    # the command line has others
    del options.apps, options.command
    return options


def _check_ports(options: argparse.Namespace) -> None:
    """Raise an error if two options name the same port."""
    users: dict[int, str] = {}
    for option in ("--port", "--console-port", "--api-port", "--grpc-port"):
        port = getattr(options, option[2:].replace("-", "_"))
        if port and users.setdefault(port, option) != option:
            raise UsageError(
                f"{users[port]} and {option} are both {port}. Choose another port for "
                "one of them"
            )
