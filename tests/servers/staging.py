"""Stage a copy of an app, with the contract's own modules beside it."""

import pathlib
import shutil

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BESIDE = REPOSITORY / "tests" / "staged"

APPS = {
    "flask": "flask_app",
    "django": "django_app",
    "plain_wsgi": "plain_wsgi_app",
}
"""The name that --app takes -> the app's folder."""


def stage(app: pathlib.Path, work: pathlib.Path, ndb: str = "bundled") -> pathlib.Path:
    """Copy the folder `app` into `work`, links followed, and return the copy.

    Its entrypoint serves contract_main, its tasks write to `runs.jsonl` in `work`, and
    its counter is stored with `ndb`, bundled or cloud.
    """
    copy = work / app.name
    shutil.copytree(app, copy, ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    for file in BESIDE.iterdir():
        if file.is_file() and file.name != "__init__.py":
            shutil.copy(file, copy)
    settings = copy / "app.yaml"
    text = settings.read_text()
    for old, new in (
        (" main:app", " contract_main:app"),
        ("COUNTER_NDB: bundled", f"COUNTER_NDB: {ndb}"),
        (
            "env_variables:\n",
            f"env_variables:\n  CONTRACT_RUNS: {work / 'runs.jsonl'}\n",
        ),
    ):
        assert text.count(old) == 1, f"{old!r} is not once in {app / 'app.yaml'}"
        text = text.replace(old, new)
    settings.write_text(text)
    return copy
