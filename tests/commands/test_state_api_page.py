"""docs/state-api.md: its tables have every field, and a server answers as they say."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commands.pages import code, first_cells, page, rows, section
from tests.servers.embedded import Embedded
from tests.servers.staging import REPOSITORY

PAGE = page("docs/state-api.md")
TABLE = {row[0]: row[-1] for row in rows(PAGE) if re.match("`[A-Z]+ /", row[0])}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """The Flask app on the dev server, with a cron job and an index."""
    work = tmp_path_factory.mktemp("answers")
    app = shutil.copytree(REPOSITORY / "flask_app", work / "app")
    (app / "cron.yaml").write_text("cron: [{url: /daily, schedule: every day 9:00}]\n")
    index = "{kind: A, properties: [{name: a}, {name: b}]}"
    (app / "index.yaml").write_text(f"indexes: [{index}]\n")
    with Embedded(app, work) as server:
        yield server


@pytest.fixture
def counting(server: Embedded) -> Embedded:
    """The server when the first of three tasks has run."""
    server.reset()
    assert server.get("/counter/increment").status == 200
    server.run_due()
    return server


def ask(server: Embedded, request: str) -> Any:
    """Send the request of the row that starts so, about a task or an attempt."""
    (cell,) = (x for x in TABLE if x.startswith(f"`{request}"))
    shown, *body = code(cell.partition(";")[0])
    method, path = shown.split()
    task = server.tasks()[0]
    path = path.replace("QUEUE", task.queue).replace("TASK", task.name)
    if "NUMBER" in path:
        (attempt,) = server.state("GET", "/attempts")["attempts"]
        path = path.replace("NUMBER", str(attempt["number"]))
    return server.state(method, path, json.loads(body[0]) if body else None)


def fields(title: str) -> set[str]:
    """Return the names in the first column of a table."""
    return set(code(first_cells(section(PAGE, title))))


@pytest.mark.parametrize(
    "cell", [x for x in TABLE if "{" in TABLE[x] or "same" in TABLE[x]]
)
def test_answer(cell: str, counting: Embedded) -> None:
    """An answer has the keys of the table, and the values if the table has any."""
    answer = TABLE[cell]
    if answer == "the same":
        (answer,) = (x for x in TABLE.values() if "tasks_run" in x)
    shown = code(answer)[0].replace("[...]", "...").replace("...", "null")
    wanted = json.loads(shown)

    found = ask(counting, cell[1:])

    assert found.keys() == wanted.keys()
    values = {key: value for key, value in wanted.items() if value is not None}
    assert {key: found[key] for key in values} == values


def test_fields(counting: Embedded) -> None:
    """Services, queues, tasks, entities and others have the fields of the tables.

    A task has fewer in the list of its queue.
    """
    (service,) = ask(counting, "GET /services")["services"]
    (queue,) = ask(counting, "GET /queues`")["queues"]
    task = ask(counting, "GET /queues/QUEUE/tasks/TASK`")
    (entity,) = ask(counting, "GET /entities?")["entities"]

    assert service.keys() == fields("Fields of a service")
    assert queue.keys() == fields("Fields of a queue")
    assert task.keys() == fields("Fields of a task")
    fewer = {"headers", "payload", "call", "arguments", "object", "stored_at"}
    fewer |= {"unreadable", "attempts", "added_by", "content"}
    assert queue["tasks"][0].keys() == task.keys() - fewer
    (attempt,) = ask(counting, "GET /attempts`")["attempts"]
    assert attempt.keys() == fields("Fields of an attempt")
    assert len(base64.b64decode(task["payload"])) == task["size"]
    (shown,) = (code(x)[1:] for x in TABLE.values() if "entities" in x)
    assert entity.keys() == set(shown)
    (job,) = ask(counting, "GET /cron")["jobs"]
    assert job.keys() == fields("Fields of a cron job")
    number = ask(counting, "GET /requests`")["requests"][0]["number"]
    request = counting.state("GET", f"/requests/{number}")
    assert request.keys() == fields("Fields of a request")
    (index,) = ask(counting, "GET /indexes")["existing"]
    assert index.keys() == fields("Fields of an index")
