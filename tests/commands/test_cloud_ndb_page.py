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
    """The commands replace the library of an app that runs, and go back."""
    commands = [
        command.replace("../", f"{tmp_path}/")
        for command in re.findall(r"^\$ (.*)$", SHOWN, re.MULTILINE)
    ]
    copy, serve, increment, replace, go_back = map(shlex.split, commands)
    assert copy[:2] == serve[:2] == ["python3", "noxfile.py"]
    copied = nox(*copy[2:])
    assert copied.returncode == 0, copied.stderr

    def wait_for_start(number: int) -> None:
        wait_until(lambda: server.log().count("Starting gunicorn") == number, "a start")

    server = Embedded(pathlib.Path(serve[-1]), tmp_path, reload=True)
    try:
        path = increment[-1].partition(":8080")[2]
        assert server.get(path).status == 200
        server.run_due()
        for starts, command, count in ((2, replace, 20), (3, go_back, 30)):
            assert run(*command).returncode == 0
            wait_for_start(starts)
            assert server.get("/counter/get").text == str(count - 10)
            server.advance(60)
            assert server.get("/counter/get").text == str(count)
    finally:
        server.stop()
