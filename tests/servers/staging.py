"""Stage a copy of an app, with modules of the tests beside its main.py."""

import pathlib
import shutil

from tools.copy_app import copy_app

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

APPS = {
    "flask": "flask_app",
    "django": "django_app",
    "plain_wsgi": "plain_wsgi_app",
}
"""The name that --app takes -> the app's folder."""


CONTRACT = REPOSITORY / "tests" / "staged"
"""The contract's own modules."""


def stage(
    app: str,
    work: pathlib.Path,
    ndb: str = "bundled",
    tasks: str = "bundled",
    staged: pathlib.Path = CONTRACT,
    main: str = "contract_main",
) -> pathlib.Path:
    """Copy an app into `work` as `nox -s copy` does, and return the copy.

    The files of `staged` are beside its main.py, its entrypoint serves the module
    `main`, its counter is stored with `ndb`, bundled or cloud, and `tasks` names the
    service that holds its tasks, in the same words. The contract's tasks write to
    `runs.jsonl` in `work`.
    """
    copy = work / APPS[app]
    copy_app(app, copy, ndb, tasks)
    for file in staged.glob("[!_]*.*"):
        shutil.copy(file, copy)
    variable = f"env_variables:\n  CONTRACT_RUNS: {work / 'runs.jsonl'}\n"
    change(copy / "app.yaml", " main:app", f" {main}:app")
    change(copy / "app.yaml", "env_variables:\n", variable)
    return copy


def change(file: pathlib.Path, old: str, new: str) -> None:
    """Replace a text that occurs once in a file."""
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} must occur once in {file}"
    file.write_text(text.replace(old, new))
