"""Which files are for browsers alone."""

from pathlib import Path

import pytest

from gae_devserver.config.app_yaml import load_app_yaml
from gae_devserver.config.handlers import is_only_static
from tests.helpers.app_folder import make_app

HANDLERS = r"""handlers:
- {url: /static, static_dir: static}
- {url: /readable, static_dir: readable, application_readable: true}
- {url: '/(.*\.css)', static_files: '\1', upload: '.*\.css'}
- {url: /linked, static_dir: linked}
"""


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("static/app.js", True),
        ("static/deep/page.html", True),
        ("static/main.py", False),
        ("static/templates/page.html", False),
        ("static/page.j2", False),
        ("readable/app.js", False),
        ("site.css", True),
        ("site.js", False),
        ("../elsewhere/a.js", True),
        ("../static/app.js", False),
    ],
)
def test_files_for_browsers_alone(tmp_path: Path, file: str, expected: bool) -> None:
    """A static handler serves it, and it is neither code nor for the app to read."""
    parent = tmp_path / "templates"
    folder = make_app(parent / "app", app_yaml=HANDLERS)
    (parent / "elsewhere").mkdir()
    (folder / "linked").symlink_to("../elsewhere")
    handlers = load_app_yaml(folder).static_handlers
    path = (folder / file).resolve()
    assert is_only_static(handlers, folder, path) is expected
