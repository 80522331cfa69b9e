"""What `includes` adds to app.yaml, and how a mistake in an included file is shown."""

from pathlib import Path

import pytest

from gae_devserver.config.app_yaml import AppConfig, load_app_yaml
from gae_devserver.config.parsing import ConfigError
from tests.helpers.config_files import LEAST

APP_YAML = f"""\
{LEAST}
includes:
- library
- other.yaml
env_variables: {{A: app, B: app}}
handlers:
- {{url: /app, script: auto}}
"""
FILES = {
    "library/include.yaml": """\
includes: [more.yaml, other.yaml]
env_variables: {A: library}
handlers:
- {url: /library, static_dir: library/static}
- {url: /.*, script: auto, position: tail}
""",
    "library/more.yaml": """\
env_variables: {A: more, C: more}
handlers:
- {url: /more, script: auto}
""",
    "other.yaml": "handlers:\n- {url: /other, script: auto}\n",
}


def loaded(folder: Path, files: dict[str, str]) -> AppConfig:
    """Write these files and read the app."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return load_app_yaml(folder)


def test_the_files_are_merged_as_gcloud_does(tmp_path: Path) -> None:
    """Each file is read once. Its handlers come before those of app.yaml, or last.

    A folder stands for its include.yaml. A name is looked up beside the including file,
    then in the app's folder. The variables of an included file replace the others.
    """
    (tmp_path / "library" / "static").mkdir(parents=True)
    app = loaded(tmp_path, {"app.yaml": APP_YAML, **FILES})

    urls = [handler.url.pattern.split("(")[0] for handler in app.static_handlers]
    assert urls == ["/library/", "/more", "/other", "/app", "/.*"]
    assert app.env_variables == {"A": "more", "B": "app", "C": "more"}
    assert app.files == tuple(tmp_path / name for name in ("app.yaml", *FILES))
    assert app.warnings == ()


def test_a_warning_about_an_included_handler(tmp_path: Path) -> None:
    """It has the included file and its line."""
    (warning,) = loaded(tmp_path, {"app.yaml": APP_YAML, **FILES}).warnings
    assert warning.startswith(f"{tmp_path / 'library' / 'include.yaml'}, line 4: ")


@pytest.mark.parametrize(
    ("files", "place", "fact"),
    [
        ({}, "app.yaml, line 3: ", "a.yaml"),
        ({"a.yaml": "includes:\n- b.yaml\n"}, "a.yaml, line 2: ", "b.yaml"),
        ({"a.yaml": "includes: [a.yaml]\n"}, "a.yaml, line 1: ", "itself"),
        ({"a.yaml": "includes: [app.yaml]\n"}, "a.yaml, line 1: ", "itself"),
        ({"a.yaml": LEAST}, "a.yaml, line 1: ", "'runtime'"),
        ({"a.yaml": "- a\n"}, "a.yaml, line 1: ", "'handlers:'"),
        ({"a.yaml": "\n[\n"}, "a.yaml, line 3: ", "YAML"),
        (
            {
                "a.yaml": "includes: [b.yaml]\nskip_files: (?P<a>x)\n",
                "b.yaml": "skip_files: (?P<a>y)\n",
            },
            "app.yaml, line 2: ",
            "skip_files",
        ),
    ],
)
def test_a_mistake_in_an_included_file(
    tmp_path: Path, files: dict[str, str], place: str, fact: str
) -> None:
    """The message has the line, also of a file that is missing or circular."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, {"app.yaml": f"{LEAST}includes:\n- a.yaml\n", **files})
    assert str(caught.value).startswith(f"{tmp_path}/{place}")
    assert fact in str(caught.value)


def test_an_empty_included_file(tmp_path: Path) -> None:
    """It causes a warning, as in gcloud app deploy."""
    files = {"app.yaml": f"{LEAST}includes: [a.yaml]\n", "a.yaml": "# nothing\n"}
    app = loaded(tmp_path, files)
    assert app.files == (tmp_path / "app.yaml", tmp_path / "a.yaml")
    (warning,) = app.warnings
    assert str(tmp_path / "a.yaml") in warning
