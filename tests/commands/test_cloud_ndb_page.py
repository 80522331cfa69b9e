"""docs/cloud-ndb.md: the change that it shows works as it is."""

import pathlib
import re
import shlex

from tests.commands.pages import blocks, commands, page, section
from tests.commands.running import nox, run
from tests.servers.embedded import Embedded
from tests.servers.staging import change

SECTION = section(page("docs/cloud-ndb.md"), "Try the change")


def test_try_the_change(tmp_path: pathlib.Path) -> None:
    """The steps replace the library of a running app, and go back.

    The page of the counter is right after each of them.
    """
    shown = [x.replace("../", f"{tmp_path}/") for x in commands(SECTION)]
    copy, serve, increment, keep, replace, go_back = map(shlex.split, shown)
    copied = nox(*copy[2:])
    assert copied.returncode == 0, copied.stderr
    folder = pathlib.Path(serve[-1])
    (edited,) = blocks(SECTION, "python")
    (line,) = re.findall(r".*_use_memcache.*\n", edited)
    change(folder / "shared/counter.py", edited.replace(line, ""), edited)

    with Embedded(folder, tmp_path, reload=True) as server:
        path = increment[-1].partition(":8080")[2]
        assert server.get(path).status == 200
        server.run_due()
        assert server.get("/counter/get").text == "10"
        assert run(*keep).returncode == 0
        for command, count in ((replace, 20), (go_back, 30)):
            starts = server.log().count("Starting gunicorn")
            assert run(*command).returncode == 0
            server.wait_for_log(rf"(?s)(?:Starting gunicorn.*){{{starts + 1}}}")
            assert server.get("/counter/get").text == str(count - 10)
            server.advance(60)
            assert server.get("/counter/get").text == str(count)
