#!/usr/bin/env python3
"""Every task of this project. Without nox, use `python3 noxfile.py` for `nox`.

nox -s serve -- flask          run an app on the dev server (or django, plain_wsgi,
                               or the folder or YAML files of an app of your own)
nox -s copy -- flask DIR       copy an app, to start your own from it
nox                            run the tests and checks of a change
nox -s flask -- -x -k retry    what follows -- goes to pytest
nox -l                         list the other sessions
"""

from __future__ import annotations  # SyntaxError? Use Python 3.11 or newer.

import signal
import sys
import time
from pathlib import Path

OLDEST_PYTHON: tuple[int, int] = (3, 11)  # SyntaxError? Use Python 3.11 or newer.
NEWEST_PYTHON = (3, 14)  # the newest that the tests run on

# An old Python prints one line and no traceback. That is why this file must parse on
# Python 3.7, and run on it down to here.
if sys.version_info[:2] < OLDEST_PYTHON:
    sys.exit(
        "noxfile.py: this is Python {0}.{1}; install Python {2}.{3} to {4}.{5} and "
        "use that, for example: python{4}.{5} noxfile.py".format(
            *sys.version_info[:2], *OLDEST_PYTHON, *NEWEST_PYTHON
        )
    )

sys.path.insert(0, str(Path(__file__).absolute().parent))  # nox does not

from tools import arguments, bootstrap  # these import no nox

arguments.check(sys.argv[1:])
if __name__ == "__main__":
    bootstrap.start_nox()

import nox  # installed by now: see start_nox()

from tools import audit as auditing
from tools import copy_app, environments
from tools import deploy as deploying
from tools.arguments import APPS, Options, app_name, app_path
from tools.cloud_sdk import need_dev_appserver
from tools.contract import EMBEDDED, VARIANTS, Variant, run_contract, test_contract
from tools.emulators import need_emulators, running_emulators
from tools.environments import DEVSERVER, install
from tools.processes import INSTALL_ONLY, run, run_pytest, run_server

if sys.version_info[:2] > NEWEST_PYTHON:
    print(
        "noxfile.py: Python {}.{} is not tested; ".format(*sys.version_info)
        + "if something fails, use {}.{}".format(*NEWEST_PYTHON),
        file=sys.stderr,
    )

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
# One folder for each Python version: sessions run on nox's own Python, and nox would
# reuse an environment that another Python made.
nox.options.envdir = f".nox/{sys.implementation.cache_tag}"
nox.options.reuse_venv = "yes"
# In CI too, `versions` skips a Python that is not installed.
nox.options.error_on_missing_interpreters = False
# SIGTERM acts as Ctrl-C. Otherwise nox ends and leaves running what it has started.
signal.signal(signal.SIGTERM, signal.default_int_handler)

SERVERS = {"embedded": "tools.serve", "dev_appserver": "tools.dev_appserver"}
in_each_variant = nox.parametrize(
    "variant", [nox.param(variant, id=name) for name, variant in VARIANTS.items()]
)

nox.options.sessions = [
    *(f"{app}({variant})" for app in APPS for variant in EMBEDDED),
    "unit",
    "integration",
    "browser",
    "lint",
    "types",
]


@nox.session
def serve(session: nox.Session) -> None:
    """Run an app on the dev server: nox -s serve -- flask [options of the server]."""
    options = Options(
        session,
        "APP is flask, django or plain_wsgi, or the folder or the YAML files of "
        "another app, for example: python3 noxfile.py -s serve -- flask",
        add_help=False,
    )
    options.add_argument("apps", metavar="APP", nargs="+")
    options.add_argument("--server", choices=SERVERS, default="embedded")
    options.add_argument("--storage", metavar="DIR")
    if {"-h", "--help"} & {*session.posargs}:
        options.print_help()
        print("\nOptions of the server itself:\n", flush=True)
        install(session, apps=APPS, devserver=True)
        other = {"dev_appserver", "--server=dev_appserver"} & {*session.posargs}
        module = SERVERS["dev_appserver" if other else "embedded"]
        run_server(session, "-m", module, "--help")
        return
    chosen, others = options.parse_known_args(session.posargs)
    if chosen.storage is not None:
        others.append(f"--storage={arguments.typed(session, chosen.storage)}")
    if chosen.server == "dev_appserver":
        need_dev_appserver(session.error)
    paths = [app_path(options, app) for app in chosen.apps]
    install(session, apps=APPS, devserver=True)
    if chosen.server == "embedded" and not any(path.is_absolute() for path in paths):
        # a sample runs in the session's environment, whose packages are locked
        others.insert(0, "--python=python")
    run_server(session, "-m", SERVERS[chosen.server], *map(str, paths), *others)


@nox.session(venv_backend="none")
def copy(session: nox.Session) -> None:
    """Copy an app to a new folder, without links: nox -s copy -- flask DIR."""
    options = Options(
        session,
        "APP is flask, django or plain_wsgi, and DIR a new folder, for example: "
        "python3 noxfile.py -s copy -- flask ../my_app",
    )
    options.add_argument("app", metavar="APP", type=app_name)
    options.add_argument("folder", metavar="DIR")
    options.add_argument("--ndb", choices=copy_app.LIBRARIES, default="bundled")
    options.add_argument("--tasks", choices=copy_app.BACKENDS, default="bundled")
    chosen = options.parse_args(session.posargs)
    folder = arguments.typed(session, chosen.folder)
    copy_app.copy_for_user(session, chosen.app, folder, chosen.ndb, chosen.tasks)


@nox.session
@in_each_variant
def flask(session: nox.Session, variant: Variant) -> None:
    """Test the contract with the Flask app."""
    test_contract(session, variant, "flask")


@nox.session
@in_each_variant
def django(session: nox.Session, variant: Variant) -> None:
    """Test the contract with the Django app."""
    test_contract(session, variant, "django")


@nox.session
@in_each_variant
def plain_wsgi(session: nox.Session, variant: Variant) -> None:
    """Test the contract with the app that uses no framework."""
    test_contract(session, variant, "plain_wsgi")


@nox.session
def unit(session: nox.Session) -> None:
    """Test the dev server's modules, in-process."""
    install(session, "test", devserver=True)
    run_pytest(session, "tests/unit", folder=DEVSERVER)


@nox.session
@nox.parametrize("of", ["devserver", "samples"], ids=["devserver", "samples"])
def integration(session: nox.Session, of: str) -> None:
    """Run the tests that start servers: the dev server's command, the apps alone."""
    install(session, "test", apps=APPS, devserver=True)
    if of == "devserver":
        others = ["tests/unit", "tests/browser", "tests/emulators"]
        ignored = (f"--ignore={folder}" for folder in others)
        run_pytest(session, "tests", *ignored, folder=DEVSERVER)
    else:
        others = ["tests/contract", "tests/commands", "tests/e2e"]
        run_pytest(session, "tests", *(f"--ignore={folder}" for folder in others))


@nox.session
def browser(session: nox.Session) -> None:
    """Test the console in Chromium or Google Chrome, if one is installed."""
    install(session, "test", "browser", devserver=True)
    run_pytest(session, "tests/browser", folder=DEVSERVER)


@nox.session
def emulators(session: nox.Session) -> None:
    """Compare the dev server's datastore with Google's two emulators of it."""
    need_emulators(session.skip)
    install(session, "test", devserver=True)
    with running_emulators() as addresses:
        session.env.update(addresses)
        profile = "--hypothesis-profile=same"  # the user's comes later, and counts
        run_pytest(session, "tests/emulators", profile, folder=DEVSERVER)


@nox.session
def commands(session: nox.Session) -> None:
    """Test this file's setup, its sessions serve, copy, e2e, deploy, and the lock."""
    install(session, "test", "commands", "audit", "types", apps=APPS, devserver=True)
    run_pytest(session, "tests/commands")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff, and the direction of the server's imports."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.chdir(DEVSERVER)
    session.run("lint-imports", env={"PYTHONPATH": "src"})


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy --strict."""
    install(session, "test", "browser", "commands", "types", apps=APPS, devserver=True)
    session.run("mypy")
    for app in APPS:  # one at a time: each of them is a module named main
        session.run("mypy", f"{app}_app/main.py")
    session.chdir(DEVSERVER)
    session.run("mypy")


@nox.session(
    python=[f"3.{minor}" for minor in range(OLDEST_PYTHON[1], NEWEST_PYTHON[1] + 1)],
    download_python="never",
)
def versions(session: nox.Session) -> None:
    """Test the contract with every app on each Python."""
    for variant in EMBEDDED.values():
        test_contract(session, variant, *APPS)


@nox.session(python="3.11", download_python="never")
def minimums(session: nox.Session) -> None:
    """Test the contract and every service with the lowest supported releases."""
    environments.install_lowest(session)
    for variant in EMBEDDED.values():
        if variant.tasks == "bundled":  # the lowest SDK knows no Cloud Tasks
            run_contract(session, variant, *APPS)
    # the contract covers neither every service nor a move of a running app to Cloud NDB
    run_pytest(session, "tests/probe", "-k", "not both_servers")
    run_pytest(session, "tests/commands/test_cloud_ndb_page.py")


@nox.session(reuse_venv=False)  # else it keeps the releases of its first run
def newest(session: nox.Session) -> None:
    """Test the contract with the newest releases that the dev server allows."""
    environments.install_newest(session)
    for variant in EMBEDDED.values():
        run_contract(session, variant, *APPS)


@nox.session
def e2e(session: nox.Session) -> None:
    """Test a deployed version: nox -s e2e -- --base-url URL."""
    example = f"python3 noxfile.py -s e2e -- --base-url {deploying.EXAMPLE_URL}"
    options = Options(session, f"For example: {example}")
    url = arguments.base_url
    options.add_argument("--base-url", metavar="URL", type=url, required=True)
    chosen, others = options.parse_known_args(session.posargs)
    install(session, "test", devserver=True)
    run_pytest(session, "tests/e2e", f"--base-url={chosen.base_url}", posargs=others)


@nox.session
def deploy(session: nox.Session) -> None:
    """Deploy a version without traffic, test it: -s deploy -- flask --project ID."""
    options = Options(
        session, "For example: python3 noxfile.py -s deploy -- flask --project my-id"
    )
    text = arguments.not_empty
    options.add_argument("app", metavar="APP", type=app_name)
    options.add_argument("--project", metavar="ID", type=text, required=True)
    options.add_argument("--version", metavar="NAME", type=text, help="its name")
    options.add_argument("--delete", action="store_true", help="delete it afterwards")
    chosen, others = options.parse_known_args(session.posargs)
    version = chosen.version or time.strftime(f"{chosen.app}-%Y%m%dt%H%M%S")
    gcloud = deploying.find_gcloud(session)
    install(session, "test", devserver=True)
    if INSTALL_ONLY:
        return
    deploying.check_tests(session, options, others)
    deploying.need_account(session, gcloud)
    with deploying.deployed(
        session,
        gcloud,
        chosen.app,
        project=chosen.project,
        version=version.replace("_", "-"),  # a host name contains no underscore
        delete=chosen.delete,
    ) as url:
        run_pytest(session, "tests/e2e", f"--base-url={url}", posargs=others)


@nox.session
def lock(session: nox.Session) -> None:
    """Update requirements-lock.txt after you changed a pin: nox -s lock."""
    environments.lock(session, "{}.{}".format(*OLDEST_PYTHON))


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities of the packages in requirements-lock.txt."""
    install(session, "audit")
    auditing.audit(session)


@nox.session
def chaos(session: nox.Session) -> None:
    """Run 2,000 tasks with every app while workers and the server are killed."""
    install(session, "test", apps=APPS, devserver=True)
    run_pytest(session, "tests/chaos", "--chaos-calls=2000", "-rP")


@nox.session
def screenshots(session: nox.Session) -> None:
    """Take the pictures of the console in docs/images with the Flask sample."""
    install(session, "browser", apps=["flask"], devserver=True)
    script = ("-m", "tests.browser.screenshots", "../flask_app", "../docs/images")
    run(session, "python", *script, folder=DEVSERVER)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the dev server beside Google's, and print tables."""
    install(session, "test", apps=APPS, devserver=True)
    run(session, "python", "-m", "tests.bench", *session.posargs)
