"""The options of the command line, and those of `shell` and `run`."""

import argparse
import contextlib
import ipaddress
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gae_devserver.app.python import Python
from gae_devserver.cloud_tasks import hosts
from gae_devserver.environments import interpreters

if TYPE_CHECKING:
    from gae_devserver.faults import Faults

PROG = "gae-devserver"
_APP = "the folder that holds app.yaml, or a YAML file of any name"


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage message."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        text = message.removeprefix("argument ")
        print(
            f"{PROG}: error: {text[0].upper()}{text[1:]}. For help, add --help.",
            file=sys.stderr,
        )
        raise SystemExit(2)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; exit with status 2 if there is a mistake in them.

    `command` is the first word if that is "shell" or "run", otherwise None.
    """
    first, *others = arguments or [""]
    if first == "shell":
        parser = _shell_parser()
    elif first == "run":
        parser = _run_parser()
    else:
        parser = _serve_parser()
        # intermixed: options may stand between two apps
        options, unknown = parser.parse_known_intermixed_args(arguments)
        for path in options.apps:
            if str(path) in ("shell", "run") and not path.exists():
                parser.error(f"'{path}' must be the first word: {PROG} {path} APP")
        if unknown:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options
    options = parser.parse_args(others)
    named = []
    while first == "run" and options.script[0].endswith((".yaml", ".yml")):
        # not the script, but the file of another service
        named.append(_path(others.pop(-len(options.script))))
        options = parser.parse_args(others)
    options.apps += named
    return options


def _serve_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROG,
        description="Run an App Engine app on this machine, with task queues, "
        "the datastore and the other bundled services. For development only.",
        epilog=f"With the same services: '{PROG} shell APP' starts a Python shell, "
        f"and '{PROG} run APP SCRIPT' runs a script. Each has --help.",
    )
    parser.set_defaults(command=None)
    _add_app(
        parser,
        "+",
        f"{_APP}; several for an app with several services. Add dispatch.yaml, "
        "queue.yaml, cron.yaml or index.yaml if it is not beside the main service",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=8080,
        help="the port on which the app answers; 0 picks a free one "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        type=_address,
        metavar="ADDRESS",
        help="one more IP address to listen on, so that other machines can use the "
        "app; 0.0.0.0 for all addresses (default: this machine only)",
    )
    _add_common(parser)
    parser.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="restart the app when one of its files changes (default: on)",
    )
    parser.add_argument(
        "--cron",
        action="store_true",
        help="run the jobs of cron.yaml when they are due (default: only when you ask "
        "the State API to run one)",
    )
    parser.add_argument(
        "--task-deadline",
        type=_seconds,
        metavar="SECONDS",
        help="the time limit of a task; the server retries a task that takes longer, "
        "and restarts the app (default: 600)",
    )
    parser.add_argument(
        "--no-cloud-tasks",
        dest="cloud_tasks",
        action="store_false",
        help="refuse all calls of the API of Cloud Tasks",
    )
    parser.add_argument(
        hosts.OPTION,
        type=_host,
        action="append",
        default=[],
        metavar="HOST",
        dest="http_target_hosts",
        help="let HTTP tasks of Cloud Tasks go to this host too; can be repeated "
        "(default: this machine only)",
    )
    parser.add_argument(
        "--smtp-host",
        type=_smtp_server,
        metavar="HOST[:PORT]",
        dest="smtp",
        help="send the app's mail through this SMTP server (default: mail is only "
        "logged and kept for the State API)",
    )
    parser.add_argument(
        "--faults",
        type=_faults,
        metavar="SPEC",
        help="for tests: inject faults such as duplicate tasks and killed workers, "
        "for example twice=0.1,kill=0.02,seed=7 (the README explains each)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="the lowest level of the server's own log lines (default: %(default)s)",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: each line of the log is a JSON object (default: %(default)s)",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the app in a browser when it is ready"
    )
    return parser


def _shell_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{PROG} shell",
        description="Start a Python shell in the app's environment and folder, with "
        "the app's services. What is piped into it is run as a script.",
    )
    parser.set_defaults(command="shell")
    _add_app(parser, "+", f"{_APP}; several for an app with several services")
    _add_common(parser)
    return parser


def _run_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{PROG} run",
        description="Run a script in the app's environment, with the app's services.",
    )
    parser.set_defaults(command="run")
    _add_app(parser, 1, f"{_APP}; the YAML files of other services may follow")
    _add_common(parser)
    parser.add_argument(
        "-m",
        dest="is_module",
        action="store_true",
        help="SCRIPT is the name of a module",
    )
    parser.add_argument(
        "script",
        nargs=argparse.PARSER,  # the script, and all that follows
        metavar="SCRIPT",
        help="the script, in the current folder or in the app's, and its arguments",
    )
    return parser


def _add_app(parser: argparse.ArgumentParser, count: int | str, text: str) -> None:
    parser.add_argument("apps", nargs=count, type=_path, metavar="APP", help=text)


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add what the server, a shell and a script have in common."""
    parser.add_argument(
        "--project",
        type=_project,
        default="sample-project",
        metavar="NAME",
        help="the project ID that the app gets (default: %(default)s)",
    )
    parser.add_argument(
        "--python",
        type=_python,
        metavar="PATH",
        help="run the app on this interpreter, or in the environment in this folder, "
        "as it is (default: make an environment from the app's requirements.txt)",
    )
    parser.add_argument(
        "--storage",
        type=_path,
        metavar="DIR",
        help="keep entities and tasks in this folder for the next run (default: keep "
        "them in memory)",
    )
    indexes = parser.add_mutually_exclusive_group()
    indexes.add_argument(
        "--require-indexes",
        dest="when_index_missing",
        action="store_const",
        const="refuse",
        default="report",
        help="refuse a query whose composite index is missing in index.yaml, as in "
        "production (default: answer it, and log the index)",
    )
    indexes.add_argument(
        "--write-indexes",
        dest="when_index_missing",
        action="store_const",
        const="write",
        help="add the composite indexes that queries need to the generated part of "
        "index.yaml",
    )


def _path(text: str) -> Path:
    """Return a path as typed, but resolved if it has "..": messages show it."""
    path = Path(text)
    return path.resolve() if ".." in path.parts else path


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from 0 to 65535. Write for example --port 8080"
        )
    return int(text)


def _address(text: str) -> str | None:
    """Return an IP address; None for those on which the server listens anyway."""
    try:
        address = str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an IP address. Write for example --host 0.0.0.0, or "
            "leave --host out to listen on localhost"
        ) from None
    return None if address in ("127.0.0.1", "::1") else address


def _host(text: str) -> str:
    try:
        return hosts.normalized(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a host name nor an IP address. Write only the host "
            f"of the URL, for example {hosts.OPTION} worker.example.com"
        ) from None


def _python(text: str) -> Python:
    try:
        return interpreters.named(text)
    except interpreters.PythonError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.0 < float(text) < 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of seconds above 0 and below 1000000. Write for "
        "example --task-deadline 60"
    )


def _smtp_server(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::([0-9]{1,5}))?", text)
    if not match or not 0 < int(match[2] or 25) < 65536:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a host with or without a port. Write for example "
            "--smtp-host localhost:1025"
        )
    return match[1].strip("[]"), int(match[2]) if match[2] else None


def _faults(text: str) -> "Faults":
    from gae_devserver.faults import Faults

    try:
        return Faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{error}. Write for example --faults twice=0.1,kill=0.02"
        ) from None


def _project(text: str) -> str:
    # https://cloud.google.com/resource-manager/docs/creating-managing-projects
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a project ID. A project ID has 6 to 30 lowercase "
            "letters, digits and hyphens, and starts with a letter. Write for example "
            "--project my-project"
        )
    return text
