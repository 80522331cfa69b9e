"""app.yaml, included files and those beside it: mistakes are a ConfigError."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gae_devserver.config.application import load
from gae_devserver.config.parsing import ConfigError
from gae_devserver.http import static_files
from gae_devserver.http.routing import Routing, UnknownServiceError
from tests.fuzz.conftest import Reached
from tests.fuzz.yaml_files import (
    APP_YAMLS,
    CRON_YAMLS,
    DISPATCH_YAMLS,
    INDEX_YAMLS,
    ODD_LINES,
    QUEUE_YAMLS,
    as_yaml,
    variants,
)


def outcome(folder: Path, name: str, text: str) -> set[str]:
    """Read a file as the server does; return what became of it."""
    files = {
        "app.yaml": "runtime: python313\nincludes: [included.yaml]\n",
        "included.yaml": "handlers: []\n",
        "queue.yaml": "queue: []\n",
        "cron.yaml": "cron: []\n",
        "index.yaml": "indexes: []\n",
        "dispatch.yaml": "dispatch: []\n",
        name: text,
    }
    for file, content in files.items():
        (folder / file).write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        read = load([folder, folder / "dispatch.yaml"])
    except ConfigError:
        return {"refused"}
    names = [queue.name for queue in read.queues]
    assert "default" in names
    assert len(names) == len(set(names))
    for target in ("/", "/s/a.txt", "/static/", "/i/x.png", "/xa", "/y", "/%00"):
        static_files.find(read.main.static_handlers, folder, target)
    handlers = {"handlers"} if read.main.static_handlers else set()
    queues = {"queues"} if len(names) > 1 else set()
    jobs = {"jobs"} if read.cron_jobs else set()
    indexes = {"indexes"} if read.indexes.keys else set()
    routing = Routing({"default": ""}, "default", read.dispatch, "project")
    for host in ("localhost:8080", "a.b.test", ""):
        with contextlib.suppress(UnknownServiceError):
            routing.for_request(host, "/a/b")
    rules = {"rules"} if read.dispatch else set()
    return {"loaded", *handlers, *queues, *jobs, *indexes, *rules}


def test_examples_are_read(tmp_path: Path) -> None:
    """The server reads what App Engine accepts."""
    for app_yaml in APP_YAMLS:
        read = outcome(tmp_path, "app.yaml", as_yaml(app_yaml))
        assert read == {"loaded", "handlers"}
    for queue_yaml in QUEUE_YAMLS:
        read = outcome(tmp_path, "queue.yaml", as_yaml(queue_yaml))
        assert read == {"loaded", "queues"}
    for cron_yaml in CRON_YAMLS:
        read = outcome(tmp_path, "cron.yaml", as_yaml(cron_yaml))
        assert read == {"loaded", "jobs"}
    for index_yaml in INDEX_YAMLS:
        read = outcome(tmp_path, "index.yaml", as_yaml(index_yaml))
        assert read == {"loaded", "indexes"}
    for dispatch_yaml in DISPATCH_YAMLS:
        read = outcome(tmp_path, "dispatch.yaml", as_yaml(dispatch_yaml))
        assert read == {"loaded", "rules"}


@pytest.mark.reaches(refused=0.2)
@pytest.mark.parametrize(
    "name",
    [
        "app.yaml",
        "included.yaml",
        "queue.yaml",
        "cron.yaml",
        "index.yaml",
        "dispatch.yaml",
    ],
)
@given(text=st.one_of(ODD_LINES, st.text(max_size=40)))
def test_any_text(tmp_path: Path, reached: Reached, name: str, text: str) -> None:
    """The server reads or refuses a file with any text."""
    reached(*outcome(tmp_path, name, text))


@pytest.mark.reaches(loaded=0.02, handlers=0.02, refused=0.05)
@given(text=variants(APP_YAMLS))
@example(text='{runtime: python313, handlers: [{url: /s, static_dir: "a\\0b"}]}')
def test_an_odd_app_yaml(tmp_path: Path, reached: Reached, text: str) -> None:
    """The server reads or refuses one that App Engine accepts but for one thing."""
    reached(*outcome(tmp_path, "app.yaml", text))


@pytest.mark.reaches(loaded=0.02, queues=0.02, refused=0.05)
@given(text=variants(QUEUE_YAMLS))
def test_an_odd_queue_yaml(tmp_path: Path, reached: Reached, text: str) -> None:
    """The server reads or refuses one that App Engine accepts but for one thing."""
    reached(*outcome(tmp_path, "queue.yaml", text))


@pytest.mark.reaches(loaded=0.02, jobs=0.02, refused=0.05)
@given(text=variants(CRON_YAMLS))
def test_an_odd_cron_yaml(tmp_path: Path, reached: Reached, text: str) -> None:
    """The server reads or refuses one that App Engine accepts but for one thing."""
    reached(*outcome(tmp_path, "cron.yaml", text))


@pytest.mark.reaches(loaded=0.02, indexes=0.02, refused=0.05)
@given(text=variants(INDEX_YAMLS))
def test_an_odd_index_yaml(tmp_path: Path, reached: Reached, text: str) -> None:
    """The server reads or refuses one that App Engine accepts but for one thing."""
    reached(*outcome(tmp_path, "index.yaml", text))


@pytest.mark.reaches(loaded=0.02, rules=0.02, refused=0.05)
@given(text=variants(DISPATCH_YAMLS))
def test_an_odd_dispatch_yaml(tmp_path: Path, reached: Reached, text: str) -> None:
    """The server reads or refuses one that App Engine accepts but for one thing."""
    reached(*outcome(tmp_path, "dispatch.yaml", text))
