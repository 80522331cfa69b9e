"""Apps in the shapes that public apps have start unchanged."""

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gae_devserver.environments import interpreters
from gae_devserver.testing import DevServer, wait_until
from tests.helpers.app_folder import copy_app
from tests.helpers.caches import own_cache

SDK = "appengine-python-standard"
GUNICORN = "gunicorn -b :$PORT main:app"
UWSGI = "uwsgi --http-socket :$PORT --wsgi-file main.py --callable app --threads 2"
OLD_PINS = f"{SDK}==1.1.4 protobuf==3.20.3"
GOOGLES_DJANGO = (
    'Django==5.1;python_version>="3.10" Django==4.2.15;python_version<"3.10" '
    f"django-environ==0.10.0 google-cloud-logging==3.5.0 {SDK}>=0.3.1"
)
PYPROJECT = f"""\
[project]
name = "app"
version = "1"
dependencies = ["Flask", "{SDK}"]
[tool.setuptools]
py-modules = ["work"]
"""


@dataclasses.dataclass(frozen=True)
class App:
    """A folder whose main.py is a module of tests/apps/shapes."""

    main: str
    version: str
    requirements: str | bytes | None
    """Lines of requirements.txt, with a space between them; None: no such file."""
    entrypoint: str | None = None
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = "app"

    def write(self, parent: Path) -> Path:
        """Make the folder."""
        folder = copy_app("shapes", parent).rename(parent / self.name)
        (folder / f"{self.main}.py").rename(folder / "main.py")
        lines = [f"runtime: python{self.version.replace('.', '')}"]
        lines += ["app_engine_apis: true"]
        lines += [f"entrypoint: {self.entrypoint}"] if self.entrypoint else []
        (folder / "app.yaml").write_text("\n".join(lines))
        listed = self.requirements
        if isinstance(listed, str):
            listed = listed.replace(" ", "\n").encode()
        if listed is not None:
            (folder / "requirements.txt").write_bytes(listed)
        for name, text in self.files.items():
            (folder / name).write_text(text)
        return folder


STARTS = {
    # the pins of years
    "flask 1": App("on_flask", "3.8", f"{OLD_PINS} Flask==1.1.4 markupsafe<2.1"),
    "flask 2": App("on_flask", "3.10", f"{OLD_PINS} Flask==2.3.3"),
    "flask 3": App("on_flask", "3.13", f"{SDK}==3.1.0 protobuf<7 Flask==3.1.2"),
    "sdk 0.3": App("on_wsgi", "3.9", f"{SDK}==0.3.1 grpcio==1.38.1"),
    "sdk 1.0": App("on_wsgi", "3.8", f"{SDK}==1.0.0"),
    "cloud ndb 2": App("on_cloud_ndb", "3.11", f"{SDK} Flask google-cloud-ndb==2.3.2"),
    "cloud ndb 1": App(
        "on_cloud_ndb", "3.10", f"{SDK}==1.1.4 Flask google-cloud-ndb==1.12.0"
    ),
    # Google's samples of the Deferred API
    "google's flask": App(
        "on_flask", "3.13", f"Flask==3.0.0 {SDK}>=0.3.1 Werkzeug==3.0.3"
    ),
    "google's django": App("on_django", "3.13", GOOGLES_DJANGO),
    "google's wsgi": App("on_wsgi", "3.13", f"{SDK}>=0.3.1"),
    # frameworks and entrypoints
    "bottle": App("on_bottle", "3.13", f"{SDK} bottle gunicorn==20.1.0", GUNICORN),
    "pyramid, waitress": App(
        "on_pyramid",
        "3.12",
        f"{SDK} pyramid waitress",
        "waitress-serve --listen=*:$PORT main:app",
    ),
    "webapp2": App("on_webapp2", "3.10", f"{SDK} webapp2==3.0.0b1"),
    "django 3, gevent": App(
        "on_django",
        "3.9",
        f"{SDK} Django==3.2.25 gunicorn gevent",
        "gunicorn -k gevent -w 2 -b :8080 main:app",
    ),
    "python main.py": App(
        "on_flask", "3.11", f"{SDK} Flask gunicorn", "python main.py"
    ),
    "settings of gunicorn": App(
        "on_flask",
        "3.11",
        f"{SDK} Flask gunicorn",
        "gunicorn -c gunicorn.conf.py server:application",
        {
            "gunicorn.conf.py": "bind = ':8080'\nthreads = 4\n",
            "server.py": "from main import app as application\n",
        },
    ),
    # lists
    "from PowerShell": App(
        "on_flask", "3.11", f"{SDK}\r\nFlask\r\n".encode("utf-16"), name="my app's"
    ),
    "pyproject.toml": App(
        "on_flask", "3.13", None, files={"pyproject.toml": PYPROJECT}
    ),
    # pip understands this list, and uv does not
    "a package, other lists": App(
        "on_flask",
        "3.11",
        "-rbase.txt -climits.txt -e. #comment",
        files={
            "base.txt": "Flask>=2  # why\n",
            "limits.txt": "Flask<4\n",
            "pyproject.toml": PYPROJECT,
        },
    ),
}
# These fail on App Engine too.
FAILS = {
    "no gunicorn": (App("on_wsgi", "3.11", SDK, GUNICORN), ["gunicorn", "app.yaml"]),
    "no SDK": (App("on_flask", "3.11", "Flask"), [SDK, "requirements.txt"]),
    "no list": (App("on_wsgi", "3.11", None), [SDK, "requirements.txt"]),
    "a conflict": (
        App("on_flask", "3.11", f"{SDK} Flask==1.0 Flask==2.0"),
        ["Flask==2.0", "requirements.txt"],
    ),
    "werkzeug": (
        App("on_flask", "3.10", f"{SDK} Flask==2.1.2 Werkzeug==3.0.1"),
        ["url_quote", "main.py", "older one of werkzeug"],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the environments for all tests, and what the installers have fetched."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own_cache(tmp_path_factory.mktemp("cache")).items():
            patch.setenv(name, value)
        yield


def write(app: App, parent: Path) -> Path:
    """Make the app's folder, if this machine has its Python."""
    version = tuple(map(int, app.version.split(".")))
    if interpreters.find(version) is None:  # type: ignore[arg-type]
        # .ci/run makes all versions of pyenv visible
        assert not ("CI" in os.environ and shutil.which("pyenv"))
        pytest.skip(f"this machine has no Python {app.version}")
    return app.write(parent)


@pytest.mark.parametrize("app", STARTS.values(), ids=STARTS)
def test_an_app_starts_unchanged(app: App, tmp_path: Path) -> None:
    """It answers, stores and reads entities, and its two kinds of tasks arrive.

    The server knows which of its calls and RPCs a request has made.
    """
    folder = write(app, tmp_path)
    with DevServer(folder, log_file=tmp_path / "log") as server:
        assert server.get("/start").status == 200
        done = b"deferred request task"
        wait_until(lambda: server.get("/").body == done, "the tasks run")
        (first,) = server.state("GET", "/requests?path=/start")["requests"]
        shown = server.state("GET", f"/requests/{first['number']}")
        names = [call["name"] for call in shown["api_calls"]]
        put = "Datastore.Commit" if app.main == "on_cloud_ndb" else "datastore_v3.Put"
        assert put in names


def test_uwsgi(tmp_path: Path) -> None:
    """Under uWSGI, the SDK lacks a variable that deferred functions need."""
    # pyuwsgi is uWSGI that is built already
    app = App("on_flask", "3.11", f"{SDK} Flask pyuwsgi", UWSGI)
    with DevServer(write(app, tmp_path), log_file=tmp_path / "log") as server:
        assert server.get("/start").status == 200
        wait_until(lambda: server.get("/").body == b"request task", "the task runs")
        server.wait_for_log("SERVER_SOFTWARE.* gunicorn")


@pytest.mark.parametrize(("app", "facts"), FAILS.values(), ids=FAILS)
def test_an_app_that_fails_on_app_engine(
    app: App, facts: list[str], tmp_path: Path
) -> None:
    """The server ends, and says what is missing."""
    folder = write(app, tmp_path)
    with (
        pytest.raises(RuntimeError) as error,
        DevServer(folder, log_file=tmp_path / "log"),
    ):
        pass
    assert all(fact in str(error.value) for fact in facts)
