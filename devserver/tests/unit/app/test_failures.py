"""What the server gets of an exception of the app."""

import re
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from gae_devserver.app.connect.gae_devserver_log.failures import Folder, describe


def test_a_module_that_a_library_cannot_import(tmp_path: Path) -> None:
    """It is named with its line, and the frames of the library are left out."""
    module = tmp_path / "broken.py"
    module.write_text("x = (\n")
    with pytest.raises(SyntaxError) as raised:
        SourceFileLoader("broken", str(module)).get_code("broken")
    told = describe(raised.value, Folder(str(tmp_path)))
    assert (told["file"], told["line"]) == ("broken.py", 1)
    assert re.findall('File "(.*)"', str(told["traceback"])) == [str(module)]
    assert "importlib" in str(told["full_traceback"])
