"""What the list of an app's packages says."""

from pathlib import Path

import pytest

from gae_devserver.config.requirements import content, list_in, lists


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A list that includes two other files."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("-c limits.txt\nsix\n")
    (tmp_path / "more" / "limits.txt").write_text("six<2\n")
    (tmp_path / "more" / "names.txt").write_text("attrs\n")
    file = tmp_path / "requirements.txt"
    file.write_text("-r more/base.txt  # why\n--requirement=more/names.txt\nflask\n")
    return file


@pytest.mark.parametrize(
    "name", ["requirements.txt", "more/base.txt", "more/limits.txt", "more/names.txt"]
)
def test_included_files_count(file: Path, name: str) -> None:
    """A change of any file that is included, directly or not, changes the content."""
    before = content(file)
    changed = file.parent / name
    changed.write_text(changed.read_text() + "urllib3\n")
    assert content(file) != before


def test_the_place_does_not_count(file: Path, tmp_path: Path) -> None:
    """Two apps with the same list share an environment."""
    other = file.parent.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    before = content(other / file.name)
    other.rename(tmp_path)
    assert content(file) == before


@pytest.mark.parametrize(
    "line",
    ["-e .", "--editable ./lib", "./lib", "/opt/lib", "file:lib", "lib @ file:lib"],
)
def test_the_place_of_a_local_package_counts(tmp_path: Path, line: str) -> None:
    """A package that is installed from the app's folder is another one elsewhere."""
    files = [tmp_path / name / "requirements.txt" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"six\n{line}\n")
    assert content(files[0]) != content(files[1])


@pytest.mark.parametrize("text", ["", "-r missing.txt\n", "-r requirements.txt\n"])
def test_any_text_has_a_content(tmp_path: Path, text: str) -> None:
    """The installer reports mistakes: a missing file, a circle."""
    file = tmp_path / "requirements.txt"
    file.write_text(text)
    assert content(file) == [text]
    assert content(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("package", "listed"),
    [("six", True), ("Flask", True), ("flask-cors", False), ("requests", False)],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_a_list_names(
    file: Path, package: str, encoding: str, *, listed: bool
) -> None:
    """A package counts in any spelling, encoding and included file."""
    file.write_text(file.read_text(), encoding)
    assert lists(file, package) is listed


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ('[project]\nname = "app"\ndependencies = ["Flask_Cors>=3", "six"]\n', "six"),
        ('[tool.poetry.dependencies]\nflask-cors = "^4"\n', "flask-cors"),
        ("[tool.ruff]\n", None),
    ],
)
def test_pyproject_toml(tmp_path: Path, text: str, package: str | None) -> None:
    """It is the list if it describes a project and requirements.txt is missing."""
    (tmp_path / "pyproject.toml").write_text(text)
    file = list_in(tmp_path)
    assert file.name == ("pyproject.toml" if package else "requirements.txt")
    assert package is None or lists(file, package)
    (tmp_path / "requirements.txt").touch()
    assert list_in(tmp_path).name == "requirements.txt"
