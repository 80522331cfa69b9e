"""docs/cloud-ndb.md: the change that it shows works as it is, and loses no task."""

import pathlib
import re
import shlex

from tests.commands.pages import blocks, commands, page, section
from tests.commands.running import nox, run
from tests.servers.embedded import Embedded
from tests.servers.staging import change

SECTION = section(page("docs/cloud-ndb.md"), "Try the change")


def replace_counter(server: Embedded, command: list[str]) -> None:
    """Run a command that replaces shared/counter.py; return when the app uses it."""
    starts = server.log().count("is ready again")
    assert run(*command).returncode == 0
    server.wait_for_log(rf"(?s)(?:is ready again.*){{{starts + 1}}}")


def count(server: Embedded) -> int:
    """Return what /counter/get shows."""
    return int(server.get("/counter/get").text)


def test_try_the_change(tmp_path: pathlib.Path) -> None:
    """The steps replace the library of a running app, and go back.

    Each task counts once, whichever library it was queued with and runs with. After
    each step the page is right: no cache hides what the other library has written.
    """
    shown = [x.replace("../", f"{tmp_path}/") for x in commands(SECTION)]
    copy, serve, increment, keep, replace, go_back = map(shlex.split, shown)
    copied = nox(*copy[2:])
    assert copied.returncode == 0, copied.stderr
    folder = pathlib.Path(serve[-1])
    (edited,) = blocks(SECTION, "python")
    (line,) = re.findall(r".*_use_memcache.*\n", edited)
    change(folder / "shared/counter.py", edited.replace(line, ""), edited)
    path = increment[-1].partition(":8080")[2]

    # each increment defers tasks that add 10 now, after 60 s and after 120 s
    with Embedded(folder, tmp_path, reload=True) as server:
        assert server.get(path).status == 200
        server.run_due()
        assert count(server) == 10
        assert run(*keep).returncode == 0

        replace_counter(server, replace)
        assert count(server) == 10
        assert server.get(path).status == 200
        server.advance(60)
        assert count(server) == 40

        replace_counter(server, go_back)
        assert count(server) == 40
        server.advance(60)
        assert count(server) == 60
        assert server.tasks() == []
