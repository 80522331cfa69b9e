"""What docs/devserver.md says of the dev server is what its code has."""

import ast
import inspect
import math
import pathlib
import re

import pytest
from gae_devserver import __main__, faults, server
from gae_devserver.app import process as app_process
from gae_devserver.app import supervisor
from gae_devserver.config import app_yaml as config
from gae_devserver.config import warnings as not_emulated
from gae_devserver.datastore import entity_locks
from gae_devserver.datastore_v1 import errors, transactions
from gae_devserver.datastore_v1 import server as datastore_v1
from gae_devserver.http import forwarding, front
from gae_devserver.http import server as http_server
from gae_devserver.storage import file as storage_file
from gae_devserver.tasks import runner as task_runner
from google.appengine.api import appinfo

from tests.commands.test_readme import DEVSERVER, section
from tests.commands.test_readme_tables import NUMBERS, code, rows
from tests.commands.test_readme_words import source_of
from tests.servers.staging import REPOSITORY


def word(number: float) -> str:
    """Return a number as the page spells it in a sentence."""
    assert number == int(number)
    return NUMBERS[int(number)]


UNAVAILABLE = front._response_to(supervisor.AppUnavailable())
assert UNAVAILABLE
(WAL,) = re.findall(r'_beside\("(-\w+)"\)\n +if wal', inspect.getsource(storage_file))

SENTENCES = [
    ("tasks that are due to the app, {} at a time", task_runner.MAX_RUNNING),
    ("waits for the first, up to {:g} seconds", entity_locks.LOCK_DEADLINE),
    ("nobody uses for {:g} seconds", transactions.IDLE_SECONDS),
    ("or that lasts {:g}, expires", transactions.TOTAL_SECONDS),
    ("Cloud NDB waits {} second for a lock that", word(transactions.PATIENCE)),
    ("bundled API waits {} second for a lock", word(transactions.PATIENCE)),
    ("holds it waits {}, then goes on", word(transactions._LONGEST_WAIT)),
    ("is started again after {:g}, 2, 4 ...", supervisor._FIRST_DELAY),
    ("4 ... {:g} seconds.", supervisor._LONGEST_DELAY),
    ("exit status 0 within {} seconds", math.ceil(server._SHUTDOWN_SECONDS)),
    ("comes up to {} seconds late", word(faults._SLOW_SECONDS)),
    ("it fails with `{}` if another", errors.AbortedError.code.name),
    ("answered with `{}` and the name", errors.UnimplementedError.code.name),
    ("sends the header `{}` instead", http_server.TOKEN_HEADER),
    ("are kept in `DIR/{}`", storage_file.FILE_NAME),
    ("of its `app.yaml`, or with `{}`", app_process.DEFAULT_ENTRYPOINT),
    ("`{} APP_FOLDER` runs one", __main__.PROG),
    ("The server speaks `{}` over gRPC", datastore_v1._SERVICE),
    ("requests get {} with the reason", UNAVAILABLE.status),
    ("there, whose name ends in `{}`", WAL),
]


@pytest.mark.parametrize(("sentence", "value"), SENTENCES)
def test_sentences(sentence: str, value: object) -> None:
    """A number or a name in a sentence is the constant of the code."""
    assert sentence.format(value) in DEVSERVER


def test_files_that_no_reload_follows() -> None:
    """All that the server takes for written by the app itself."""
    (named,) = re.findall(r"files that end in (.*): an app", DEVSERVER)

    assert code(named) == [f".{ending}" for ending in supervisor.WRITTEN_BY_APPS]


def test_headers_that_are_dropped() -> None:
    """All of App Engine's own, by how they begin."""
    (named,) = re.findall(r"The front drops every (.*) header from", DEVSERVER)
    prefixes = [f"`{prefix}*`" for prefix in forwarding._APP_ENGINES_OWN]

    assert named.lower() == " and ".join(prefixes)


def test_faults() -> None:
    """The table has each fault, and so has the example."""
    text = section(DEVSERVER, "Faults on purpose")
    example = faults.Faults.parse(code(text)[0].removeprefix("--faults "))

    assert [code(name)[0] for name, _ in rows("Faults on purpose", DEVSERVER)] == [
        *faults.NAMES
    ]
    assert list(example.rates) == list(faults.NAMES)
    assert "`seed` chooses which" in text


def attributes(names: str, *functions: str) -> set[str]:
    """Return which attributes of what the SDK has parsed config.py reads."""
    tree = ast.parse(
        "\n".join(source_of(name, "devserver/config.py") for name in functions)
    )
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in names.split()
    }


def test_what_is_honoured_of_app_yaml() -> None:
    """The table names what config.py reads, and nothing else."""
    ((_, honoured),) = (x for x in rows(HONOURED, DEVSERVER) if "app.yaml" in x[0])
    named = {x.partition(":")[0] for x in code(honoured)}
    # module is another word for service; env, and any other runtime, is refused
    silent = {"module", "env", "handlers"}
    variables = {"GAE_MEMORY_MB", "GAE_VERSION", "gcloud app deploy"}
    handlers = attributes("handler", "_static_handlers")

    assert named - variables - handlers == (
        attributes("info", "load_app_yaml", "_static_handlers") - silent
    )
    assert named & handlers == {x for x in handlers if x.startswith("static_")}
    assert variables <= named
    assert all(
        f'"{name}"' in source_of("environment", "devserver/app_process.py")
        for name in variables
        if name.startswith("GAE")
    )


HONOURED = "What it takes from the configuration"


def test_what_is_honoured_of_queue_yaml() -> None:
    """The table names what config.py reads, and nothing else."""
    ((_, honoured),) = (x for x in rows(HONOURED, DEVSERVER) if "queue.yaml" in x[0])
    named = {x.partition(":")[0] for x in code(honoured)}

    assert named == attributes("entry", "load_queue_yaml") - {"name", "acl"}
    assert config._DEFAULT_QUEUE.rate is None
    assert f"such as `{config._DEFAULT_QUEUE.name}`, has no rate limit" in DEVSERVER


def test_what_has_no_effect(tmp_path: pathlib.Path) -> None:
    """What the page names of App Engine's other settings changes nothing."""
    (line,) = re.findall(r"^What else App Engine knows.*", DEVSERVER, re.MULTILINE)
    files = {
        "api_version": ("app.yaml", "1"),
        "skip_files": ("app.yaml", "x"),
        "total_storage_limit": ("queue.yaml", "1M"),
    }
    (tmp_path / "app.yaml").write_text("runtime: python313\n")
    (tmp_path / "queue.yaml").write_text("queue:\n- name: default\n")
    before = config.load(tmp_path)
    assert set(code(line)) == set(files)
    for name in code(line):
        file, value = files[name]
        with (tmp_path / file).open("a") as text:
            text.write(f"{name}: {value}\n")

    assert config.load(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("libraries", "[{name: webapp2, version: latest}]"), ("no_such_setting", "1")],
)
def test_what_is_refused(name: str, value: str, tmp_path: pathlib.Path) -> None:
    """`libraries` is an error, as the page says, and so is what nobody knows."""
    (tmp_path / "app.yaml").write_text(f"runtime: python313\n{name}: {value}\n")
    with pytest.raises(config.ConfigError, match=f"line 2: .*{name}|{name} is refused"):
        config.load(tmp_path)

    assert "What it does not know is an error, with the line; so is `libraries`" in (
        section(DEVSERVER, HONOURED)
    )


def test_nothing_else_is_warned_of() -> None:
    """What the list of warnings names, not_emulated.py knows."""
    listed = section(DEVSERVER, "What it does not emulate").partition("says nothing")[0]
    source = pathlib.Path(not_emulated.__file__).read_text()
    pairs = [name.partition(": ") for name in code(listed) if name != "GAE_VERSION"]

    for name in {name for name, _, _ in pairs}:
        assert re.search(rf"\b{re.escape(name)}\b", source), name
    assert {value for _, colon, value in pairs if colon} == {
        *(appinfo.LOGIN_REQUIRED, appinfo.LOGIN_ADMIN, appinfo.SECURE_HTTPS)
    }
    assert len(pairs) > len(not_emulated.SETTINGS)


def test_what_the_datastore_lacks() -> None:
    """Each part of the API that is refused is in the list, and no other."""
    listed = re.findall(r"^- (.*)$", section(DEVSERVER, LACKING), re.MULTILINE)
    refused = set()
    for file in (REPOSITORY / "devserver" / "datastore_v1").glob("*.py"):
        for name in re.findall(
            r'refuse_if\([^"]*?(?:\("\w+"\))?, "(\w+)|not implement (read_time)',
            file.read_text(),
        ):
            refused |= set(filter(None, name))

    assert {name for line in listed for name in code(line)} == refused
    assert "property_mask" in refused


LACKING = "Datastore for Cloud NDB"
