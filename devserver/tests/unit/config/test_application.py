"""Which files make up an app with several services, and what is said about others."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gae_devserver.config.application import Application, load
from gae_devserver.config.parsing import ConfigError
from tests.helpers.config_files import LEAST

WORKER = f"{LEAST}service: worker\n"
QUEUE = "queue:\n- {name: mine, rate: 5/s}\n"
DISPATCH = "dispatch:\n- {url: '*/w/*', service: worker}\n"
Load = Callable[..., Application]


@pytest.fixture
def load_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write these files in the current folder, and read what the user names."""
    monkeypatch.chdir(tmp_path)

    def load_files(files: dict[str, str], named: str) -> Application:
        for name, text in files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        return load([Path(name) for name in named.split()])

    return load_files


def names(application: Application) -> list[str]:
    """Return the names of the services, the main one first."""
    return [config.service for config in application.services]


def test_all_yaml_files_of_a_folder(load_files: Load) -> None:
    """They work as `*.yaml` passes them, also a file that another one includes."""
    files = {
        "app.yaml": f"{LEAST}includes: [more.yaml]\n",
        "api.yml": f"{LEAST}service: api\n",
        "cron.yaml": "cron:\n- {url: /a, schedule: every 5 mins, target: worker}\n",
        "dispatch.yaml": DISPATCH,
        "index.yaml": "indexes:\n- {kind: A, properties: [{name: a}, {name: b}]}\n",
        "more.yaml": "handlers: []\n",
        "queue.yaml": QUEUE.replace("}", ", target: v9.api}"),
        "worker.yaml": WORKER,
    }
    app = load_files(files, " ".join(files))
    assert names(app) == ["default", "api", "worker"]
    assert app.main.path == Path("app.yaml")
    assert app.versions == {"default": None, "api": None, "worker": None}
    assert [queue.name for queue in app.queues] == ["mine", "default"]
    assert [job.is_elsewhere for job in app.cron_jobs] == [False]
    assert len(app.indexes.keys) == 1
    assert [rule.service for rule in app.dispatch] == ["worker"]
    assert app.warnings == ()


@pytest.mark.parametrize("kind", ["nodejs22", "python\nenv: flex"])
def test_a_service_that_cannot_run_here(load_files: Load, kind: str) -> None:
    """The other services run without it."""
    files = {"web/app.yaml": LEAST, "ui/app.yaml": f"service: ui\nruntime: {kind}\n"}
    app = load_files(files, "ui web")
    assert names(app) == ["default"]
    assert [warning.split()[0] for warning in app.warnings] == ["ui/app.yaml"]


@pytest.mark.parametrize("other", ["worker/queue.yaml", "queue.yaml", "api/queue.yml"])
def test_shared_files(load_files: Load, other: str) -> None:
    """Those beside the service default are used, unless the user names others."""
    files = {
        "worker/app.yaml": WORKER,
        "web/app.yaml": LEAST,
        "web/queue.yaml": QUEUE,
        "web/dispatch.yaml": DISPATCH,
        other: QUEUE.replace("mine", "other"),
    }
    beside = load_files(files, "worker web")
    assert names(beside) == ["default", "worker"]
    assert beside.queues[0].name == "mine"
    assert [rule.service for rule in beside.dispatch] == ["worker"]
    assert beside.files.dispatch == Path("web/dispatch.yaml")
    warned = [warning.split()[0] for warning in beside.warnings]
    assert warned == [other] * other.endswith(".yaml")
    named = load_files({}, f"worker {other} web")
    assert named.queues[0].name == "other"
    assert named.warnings == ()


def test_dispatch_yaml_of_one_service(load_files: Load) -> None:
    """It is used if the user names it, and otherwise causes a warning."""
    files = {"app.yaml": WORKER, "dispatch.yaml": DISPATCH}
    (warning,) = load_files(files, ".").warnings
    assert warning.startswith("dispatch.yaml ")
    app = load_files({}, "app.yaml dispatch.yaml")
    assert (len(app.dispatch), app.warnings) == (1, ())


@pytest.mark.parametrize(
    ("named", "facts"),
    [
        ("app.yaml app.yaml", ["app.yaml", "twice"]),
        (". app.yaml", ["app.yaml", "twice"]),
        ("app.yaml same.yaml", ["app.yaml", "same.yaml", "'default'"]),
        ("app.yaml queue.yaml other/queue.yaml", [" other/queue.yaml", "queue.yaml "]),
        ("app.yaml gone.yaml", [" gone.yaml"]),
        ("app.yaml gone/dispatch.yaml", [" gone/dispatch.yaml"]),
        ("app.yaml other", [" other/worker.yaml"]),
        ("app.yaml queue.yaml build.yaml", ["build.yaml", " app.yaml queue.yaml"]),
        ("dispatch.yaml", ["dispatch.yaml", ": ."]),
        ("build.yaml dispatch.yaml", ["build.yaml", ": ."]),
        ("app.yaml main.py", ["main.py"]),
    ],
)
def test_a_wrong_list_of_files(load_files: Load, named: str, facts: list[str]) -> None:
    """The message has the files, and what to pass."""
    files = {
        "app.yaml": LEAST,
        "build.yaml": "steps: []\n",
        "dispatch.yaml": DISPATCH,
        "main.py": "",
        "other/queue.yaml": QUEUE,
        "other/worker.yaml": WORKER,
        "queue.yaml": QUEUE,
        "same.yaml": LEAST,
    }
    with pytest.raises(ConfigError) as caught:
        load_files(files, named)
    assert all(fact in str(caught.value) for fact in facts)


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ({"dos.yaml": ""}, ["dos.yaml"]),
        ({"more/app.yaml": WORKER}, ["more/app.yaml"]),
        ({"ui/app.yaml": "runtime: nodejs22\n"}, ["ui/app.yaml", "Python"]),
        (
            {"hub.yaml": "service: hub\nenv: flex\nruntime: python\n"},
            ["hub.yaml", "flexible"],
        ),
        ({"app-staging.yaml": LEAST}, ["app-staging.yaml", " app.yaml", "'default'"]),
        (
            {
                "app.yaml": f"{LEAST}service_account: a@b.example\n",
                "worker.yaml": f"{WORKER}service_account: c@d.example\n",
            },
            [" app.yaml, worker.yaml ", "service_account"],
        ),
        (
            {"queue.yaml": QUEUE.replace("}", ", target: v1.workers}")},
            ["queue.yaml, line 2: ", "'v1.workers'", "default, worker", "'worker'?"],
        ),
        (
            {"cron.yaml": "cron:\n- {url: /a, schedule: every 5 mins, target: api}\n"},
            ["cron.yaml, line 2: ", "'api'", "default, worker"],
        ),
        (
            {"dispatch.yaml": DISPATCH.replace(": w", ": ww")},
            ["dispatch.yaml, line 2: ", "'wworker'", "default, worker", "'worker'?"],
        ),
        (
            {"dispatch.yaml": DISPATCH.replace(": worker", ": web-worker")},
            ["dispatch.yaml, line 2: ", "'web-worker'"],
        ),
        ({"app.yaml": f"{LEAST}service: api\n"}, ["'default'", "'api'"]),
    ],
)
def test_what_has_no_effect(
    load_files: Load, files: dict[str, str], facts: list[str]
) -> None:
    """A file that is not used, or the target of a service that does not run here."""
    app = {"app.yaml": LEAST, "worker.yaml": WORKER}
    (warning,) = load_files({**app, **files}, "app.yaml worker.yaml").warnings
    assert all(fact in warning for fact in facts)
    assert warning.endswith("?") is facts[-1].endswith("?")
