"""app.yaml and queue.yaml: what cannot be used is a ConfigError, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from gae_devserver.config.app_yaml import AppConfig, load
from gae_devserver.config.parsing import ConfigError
from gae_devserver.http import static_files
from tests.fuzz.conftest import Fuzz
from tests.fuzz.yaml_files import (
    APP_YAML,
    ODD_LINES,
    QUEUE_YAML,
    File,
    as_yaml,
    with_one_odd,
)

# the other file, beside the one that is tested
BESIDE: dict[str, list[Any]] = {
    "app.yaml": [
        None,
        "queue: []\n",
        "queue:\n",
        "queue:\n- name: default\n",
        "queue:\n- name: other\n  rate: 5/s\n",
    ],
    "queue.yaml": ["runtime: python313\n", "runtime: python311\nservice: other\n"],
}
TEXTS = st.one_of(ODD_LINES, st.text(max_size=40))


def loaded(folder: Path, app_yaml: str, queue_yaml: str | None) -> AppConfig | None:
    """Read the files as the server does; return None if they cannot be used."""
    for name, text in {"app.yaml": app_yaml, "queue.yaml": queue_yaml}.items():
        file = folder / name
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read = load(folder)
    except ConfigError:
        return None
    names = [queue.name for queue in read.queues]
    assert "default" in names
    assert len(names) == len(set(names))
    for target in ("/", "/s/a.txt", "/static/", "/i/x.png", "/xa", "/y", "/%00"):
        static_files.find(read.static_handlers, folder, target)
    return read


def reached(read: AppConfig | None, *, odd: bool) -> set[str]:
    """Return what became of the files."""
    if read is None:
        return {"refused"}
    handlers = {"handlers"} if read.static_handlers else set()
    queues = {"queues"} if len(read.queues) > 1 else set()
    return {"loaded", "odd" if odd else "right", *handlers, *queues}


def variants(
    files: st.SearchStrategy[File],
) -> st.SearchStrategy[tuple[File, str, bool]]:
    """Return files, lines to append, and whether something is odd."""
    return st.one_of(
        st.tuples(files, st.just(""), st.just(False)),
        st.tuples(with_one_odd(files), st.just(""), st.just(True)),
        st.tuples(files, ODD_LINES, st.just(True)),
    )


@pytest.mark.parametrize("name", ["app.yaml", "queue.yaml"])
def test_any_text(tmp_path: Path, fuzz: Fuzz, name: str) -> None:
    """A file with any text is read or refused."""

    def check(text: str, beside: str | None) -> set[str]:
        files = (text, beside) if name == "app.yaml" else (beside or "", text)
        return reached(loaded(tmp_path, *files), odd=True)

    beside = st.sampled_from(BESIDE[name])
    fuzz(f"{name}: text", check, TEXTS, beside, at_least={"refused": 0.2})


def test_app_yaml(tmp_path: Path, fuzz: Fuzz) -> None:
    """The server reads what App Engine accepts; with one odd thing, it may refuse."""

    def check(variant: tuple[File, str, bool], queue_yaml: str | None) -> set[str]:
        file, lines, odd = variant
        read = loaded(tmp_path, as_yaml(file) + lines, queue_yaml)
        if not odd:
            assert read is not None
            assert len(read.static_handlers) == len(file["handlers"])
            assert read.env_variables == file.get("env_variables", {})
        return reached(read, odd=odd)

    beside = st.sampled_from(BESIDE["app.yaml"])
    at_least = {"right": 0.04, "odd": 0.03, "handlers": 0.1, "refused": 0.05}
    fuzz("app.yaml: values", check, variants(APP_YAML), beside, at_least=at_least)


def test_queue_yaml(tmp_path: Path, fuzz: Fuzz) -> None:
    """The server reads what App Engine accepts; with one odd thing, it may refuse."""

    def check(variant: tuple[File, str, bool], app_yaml: str) -> set[str]:
        file, lines, odd = variant
        read = loaded(tmp_path, app_yaml, as_yaml(file) + lines)
        if not odd:
            assert read is not None
            names = {queue["name"] for queue in file["queue"]}
            assert {queue.name for queue in read.queues} == names | {"default"}
        return reached(read, odd=odd)

    beside = st.sampled_from(BESIDE["queue.yaml"])
    at_least = {"right": 0.02, "odd": 0.03, "queues": 0.05, "refused": 0.05}
    fuzz("queue.yaml: values", check, variants(QUEUE_YAML), beside, at_least=at_least)
