"""Which file the server reads for what the user names, and what it says otherwise."""

from pathlib import Path

import pytest

from gae_devserver.config.application import load
from gae_devserver.config.parsing import ConfigError
from tests.helpers.config_files import LEAST


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three services in the current folder, in the folders `one` and `two`."""
    (tmp_path / "one" / "api").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    for name in ("one/app.yaml", "one/worker.yaml", "two/web.yaml", "one/api/app.yaml"):
        (tmp_path / name).write_text(f"{LEAST}service: {Path(name).stem}\n")
    for name in ("one/main.py", "one/cron.yaml", "two/main.py", "two/other.yaml"):
        (tmp_path / name).write_text("a: b\n" if name != "one/cron.yaml" else "cron:\n")
    (tmp_path / "two" / "node.yaml").write_text("runtime: nodejs22\n")
    (tmp_path / "two" / "queue.yaml").write_text("queue:\n- {name: mine, rate: 5/s}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("one", "one/app.yaml"),
        ("one/app.yaml", "one/app.yaml"),
        ("one/worker.yaml", "one/worker.yaml"),
        ("one/api", "one/api/app.yaml"),
        ("two/web.yaml", "two/web.yaml"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_folder_or_a_file(target: str, file: str) -> None:
    """A folder stands for its app.yaml; the folder of a file is the app's folder."""
    app = load([Path(target)]).main
    assert (app.path, app.folder) == (Path(file), Path(file).parent)
    assert app.service == Path(file).stem


@pytest.mark.usefixtures("project")
def test_files_beside_the_one_that_is_named() -> None:
    """queue.yaml is read, and each other service causes a warning."""
    assert load([Path("two/web.yaml")]).queues[0].name == "mine"
    warnings = load([Path("one/worker.yaml")]).warnings
    assert [warning.split()[0] for warning in warnings] == [
        "api/app.yaml",
        "app.yaml",
    ]


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("one/main.py", [": one"]),
        ("one/requirements.txt", [": one"]),
        ("one/cron.yaml", ["cron jobs", ": one"]),
        ("two", ["app.yaml", " two/web.yaml"]),
        ("two/web", [" two/web.yaml"]),
        ("two/queue.yaml", [" two/web.yaml"]),
        ("two/main.py", [" two/web.yaml"]),
        (".", ["app.yaml", " one", " two/web.yaml"]),
        ("missing/app.yaml", [" missing/app.yaml"]),
        ("a" * 300, ["too long"]),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_wrong_path(target: str, named: list[str]) -> None:
    """The message has the path, and the ones that can be used."""
    with pytest.raises(ConfigError) as caught:
        load([Path(target)])
    assert all(fact in str(caught.value) for fact in named)
    assert "two/other.yaml" not in str(caught.value)
    assert "two/node.yaml" not in str(caught.value)
