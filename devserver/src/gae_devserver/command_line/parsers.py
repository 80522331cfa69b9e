"""The parsers of the command line: of the server, of `shell` and of `run`."""

import argparse
import sys
from typing import NoReturn

from gae_devserver.cloud_tasks import hosts
from gae_devserver.command_line import values
from gae_devserver.http import sockets

PROG = "gae-devserver"
_APP = "the folder that holds app.yaml, or a YAML file of any name"
_SWITCH = argparse.BooleanOptionalAction
_EXAMPLES = """\
examples:
  gae-devserver my_app                          serve the app on port 8080
  gae-devserver my_app --storage data --open    keep its data, open the console
  gae-devserver my_app --debug                  stop at each breakpoint()
  gae-devserver app.yaml worker/worker.yaml     serve two services
  gae-devserver shell my_app --storage data     read the data in a Python shell
  gae-devserver run my_app fill.py              run a script with the services

pyproject.toml can set the options in [tool.gae-devserver], such as port = 8081.
"""
_SHELL_EXAMPLES = """\
examples:
  gae-devserver shell my_app                           an empty datastore
  gae-devserver shell my_app --storage data            what the server has kept
  echo 'print(1 + 1)' | gae-devserver shell my_app     run what is piped into it
"""
_RUN_EXAMPLES = """\
examples:
  gae-devserver run my_app fill.py 100                 the script gets 100
  gae-devserver run my_app --storage data fill.py      for the next server
  gae-devserver run my_app -m pytest -x                a module, not a script
"""


class UsageError(Exception):
    """There is a mistake in the options; the message is argparse's."""


class _Parser(argparse.ArgumentParser):
    """Raises an error, where argparse prints its usage message and exits."""

    def error(self, message: str) -> NoReturn:
        # what argparse says about --cron=yes
        message = message.replace("ignored explicit argument", "it takes no value, not")
        raise UsageError(message)


class _Version(argparse.Action):
    """Prints the version, whose import takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        python = sys.version.partition(" ")[0]
        version = metadata.version(PROG)
        print(f"{PROG} {version} (Python {python})")
        parser.exit()


def _new_parser(
    command: str | None, words: str, description: str, examples: str
) -> argparse.ArgumentParser:
    prog = PROG if command is None else f"{PROG} {command}"
    parser = _Parser(
        prog=prog,
        # the list of all options would take ten lines
        usage=f"{prog} [OPTION ...] {words}",
        description=description,
        epilog=examples,
        # argparse would fill the examples into lines
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the version, and exit"
    )
    parser.add_argument(
        "--no-pyproject",
        dest="pyproject",
        action="store_false",
        help="ignore the options in [tool.gae-devserver] of pyproject.toml",
    )
    return parser


def serve_parser() -> argparse.ArgumentParser:
    """Return the parser of the server."""
    parser = _new_parser(
        None,
        "APP [APP ...]",
        "Run an App Engine app on this machine, with task queues, the datastore and\n"
        "the other bundled services. For development only.",
        _EXAMPLES,
    )
    _add_app(
        parser,
        "*",
        f"{_APP}; several for an app with several services. Add dispatch.yaml, "
        "queue.yaml, cron.yaml or index.yaml if it is not beside the main service",
    )
    _add_app_options(parser)
    _add_addresses(parser)
    _add_data_options(parser)
    _add_task_options(parser)
    _add_development_options(parser)
    return parser


def shell_parser() -> argparse.ArgumentParser:
    """Return the parser of `shell`."""
    parser = _new_parser(
        "shell",
        "APP [APP ...]",
        "Start a Python shell in the app's environment and folder, with the app's\n"
        "services. What is piped into it is run as a script.",
        _SHELL_EXAMPLES,
    )
    _add_app(parser, "*", f"{_APP}; several for an app with several services")
    _add_app_options(parser)
    _add_data_options(parser)
    return parser


def run_parser() -> argparse.ArgumentParser:
    """Return the parser of `run`."""
    parser = _new_parser(
        "run",
        "APP [-m] SCRIPT [ARGUMENT ...]",
        "Run a script in the app's environment, with the app's services.",
        _RUN_EXAMPLES,
    )
    _add_app(parser, 1, f"{_APP}; the YAML files of other services may follow")
    parser.add_argument(
        "script",
        nargs=argparse.PARSER,  # the script, and all that follows
        metavar="SCRIPT",
        help="the script, in the current folder or in the app's, and its arguments",
    )
    parser.add_argument(
        "-m",
        dest="is_module",
        action="store_true",
        help="SCRIPT is the name of a module",
    )
    _add_app_options(parser)
    _add_data_options(parser)
    return parser


def _add_app(parser: argparse.ArgumentParser, count: int | str, text: str) -> None:
    parser.add_argument("apps", nargs=count, type=values.path, metavar="APP", help=text)


def _add_app_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the app")
    group.add_argument(
        "--project",
        type=values.project,
        default="sample-project",
        metavar="NAME",
        help="the project ID that the app gets (default: %(default)s)",
    )
    group.add_argument(
        "--python",
        type=values.python,
        metavar="PATH",
        help="run the app on this interpreter, or in the environment in this folder, "
        "as it is (default: make an environment from the app's requirements.txt)",
    )


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("addresses")
    group.add_argument(
        "--port",
        type=values.port,
        default=8080,
        help="the port on which the app answers; 0 picks a free one "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--host",
        type=values.address,
        metavar="ADDRESS",
        help="one more IP address to listen on, so that other machines can use the "
        "app; 0.0.0.0 for all addresses (default: this machine only)",
    )
    group.add_argument(
        "--console-port",
        type=values.port,
        metavar="PORT",
        help="the port of the console and the State API; 0 picks a free one (default: "
        f"{sockets.CONSOLE_PORT} if it is free)",
    )
    group.add_argument(
        "--api-port",
        type=values.port,
        default=0,
        metavar="PORT",
        help="the port for the API calls of the app (default: a free one)",
    )
    group.add_argument(
        "--grpc-port",
        type=values.port,
        default=0,
        metavar="PORT",
        help="the port of DATASTORE_EMULATOR_HOST and CLOUD_TASKS_EMULATOR_HOST "
        "(default: a free one)",
    )


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--storage",
        type=values.path,
        metavar="DIR",
        help="keep entities, tasks, blobs, mails and more in this folder for the next "
        "run (default: keep them in memory)",
    )
    indexes = group.add_mutually_exclusive_group()
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


def _add_task_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tasks and mail")
    group.add_argument(
        "--cron",
        action=_SWITCH,
        default=False,
        help="run the jobs of cron.yaml when they are due (default: only when you "
        "run one in the console)",
    )
    group.add_argument(
        "--task-deadline",
        type=values.seconds,
        metavar="SECONDS",
        help="the time limit of a task; the server retries a task that takes longer, "
        "and restarts the app (default: 600)",
    )
    group.add_argument(
        "--cloud-tasks",
        action=_SWITCH,
        default=True,
        help="serve the API of Cloud Tasks, or refuse all calls of it (default: on)",
    )
    group.add_argument(
        hosts.OPTION,
        type=values.host,
        action="append",
        default=[],
        metavar="HOST",
        dest="http_target_hosts",
        help="let HTTP tasks of Cloud Tasks go to this host too; can be repeated "
        "(default: this machine only)",
    )
    group.add_argument(
        "--smtp-host",
        type=values.smtp_server,
        metavar="HOST[:PORT]",
        dest="smtp",
        help="send the app's mail through this SMTP server (default: mail is only "
        "logged and kept for the console)",
    )


def _add_development_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("development")
    group.add_argument(
        "--reload",
        action=_SWITCH,
        default=True,
        help="restart the app when one of its files changes (default: on)",
    )
    group.add_argument(
        "--debug",
        action=_SWITCH,
        default=False,
        help="run the app in one process with one thread that has the terminal, so "
        "that breakpoint() works; tasks have no time limit (default: off)",
    )
    group.add_argument(
        "--open",
        action=_SWITCH,
        default=False,
        help="open the console in a browser when the app is ready (default: off)",
    )
    group.add_argument(
        "--faults",
        type=values.faults,
        metavar="SPEC",
        help="for tests: inject faults such as duplicate tasks and killed workers, "
        "for example twice=0.1,kill=0.02,seed=7 (the README explains each)",
    )
    group = parser.add_argument_group("logging")
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="the lowest level of the server's own log lines; debug also shows all of "
        "a traceback (default: %(default)s)",
    )
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: each line on stderr is a JSON object (default: %(default)s)",
    )
