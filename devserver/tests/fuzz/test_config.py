"""app.yaml and queue.yaml: what cannot be used is a ConfigError, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import strategies as st

from gae_devserver.config.app_yaml import load
from gae_devserver.config.parsing import ConfigError
from gae_devserver.http import static_files
from tests.fuzz.conftest import Fuzz
from tests.fuzz.yaml_files import EXAMPLES, ODD_LINES, File, as_yaml, with_one_odd


def outcome(folder: Path, name: str, text: str) -> set[str]:
    """Read a file as the server does; return what became of it."""
    files = {
        "app.yaml": "runtime: python313\n",
        "queue.yaml": "queue: []\n",
        name: text,
    }
    for file, content in files.items():
        (folder / file).write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        read = load(folder)
    except ConfigError:
        return {"refused"}
    names = [queue.name for queue in read.queues]
    assert "default" in names
    assert len(names) == len(set(names))
    for target in ("/", "/s/a.txt", "/static/", "/i/x.png", "/xa", "/y", "/%00"):
        static_files.find(read.static_handlers, folder, target)
    handlers = {"handlers"} if read.static_handlers else set()
    queues = {"queues"} if len(names) > 1 else set()
    return {"loaded", *handlers, *queues}


@pytest.mark.parametrize(
    ("name", "part"), [("app.yaml", "handlers"), ("queue.yaml", "queues")]
)
def test_examples_are_read(tmp_path: Path, name: str, part: str) -> None:
    """The server reads what App Engine accepts."""
    for file in EXAMPLES[name]:
        assert outcome(tmp_path, name, as_yaml(file)) == {"loaded", part}


@pytest.mark.parametrize("name", EXAMPLES)
def test_any_text(tmp_path: Path, fuzz: Fuzz, name: str) -> None:
    """The server reads or refuses a file with any text."""
    texts = st.one_of(ODD_LINES, st.text(max_size=40))

    def check(text: str) -> set[str]:
        return outcome(tmp_path, name, text)

    fuzz(f"{name}: text", check, texts, at_least={"refused": 0.2})


@pytest.mark.parametrize(
    ("name", "part"), [("app.yaml", "handlers"), ("queue.yaml", "queues")]
)
def test_one_odd_thing(tmp_path: Path, fuzz: Fuzz, name: str, part: str) -> None:
    """The server reads or refuses a file that App Engine accepts but for one thing."""
    examples = st.sampled_from(EXAMPLES[name])
    variants = st.one_of(
        st.tuples(with_one_odd(examples), st.just("")), st.tuples(examples, ODD_LINES)
    )

    def check(variant: tuple[File, str]) -> set[str]:
        file, lines = variant
        return outcome(tmp_path, name, as_yaml(file) + lines)

    at_least = {"loaded": 0.02, part: 0.02, "refused": 0.05}
    fuzz(f"{name}: values", check, variants, at_least=at_least)
