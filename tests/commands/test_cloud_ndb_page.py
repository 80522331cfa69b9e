"""docs/cloud-ndb.md: the change that it shows, as it stands there."""

import pathlib
import re
import shlex

from gae_devserver.testing import wait_until

from tests.commands.pages import blocks, page, section
from tests.commands.running import nox, run
from tests.servers.embedded import Embedded

SHOWN = "".join(blocks(section(page("docs/cloud-ndb.md"), "Try the change"), "console"))


def test_try_the_change(tmp_path: pathlib.Path) -> None:
    """The commands replace the library of an app that runs; no count is lost."""
    commands = [
        command.replace("../", f"{tmp_path}/")
        for command in re.findall(r"^\$ (.*)$", SHOWN, re.MULTILINE)
    ]
    copy, serve, increment, replace = map(shlex.split, commands)
    assert copy[:2] == serve[:2] == ["python3", "noxfile.py"]
    copied = nox(*copy[2:])
    assert copied.returncode == 0, copied.stderr

    server = Embedded(pathlib.Path(serve[-1]), tmp_path, reload=True)
    try:
        path = increment[-1].partition(":8080")[2]
        assert server.get(path).status == 200
        server.run_due()
        assert server.get("/counter/get").text == "10"
        logged = server.log().count("Starting gunicorn")

        assert run(*replace).returncode == 0

        wait_until(
            lambda: server.log().count("Starting gunicorn") > logged, "a restart"
        )
        assert server.get("/counter/get").text == "10"
        server.advance(130)
        assert server.get("/counter/get").text == "30"
    finally:
        server.stop()
