"""Sign-in: the users API of the real SDK, `login` of app.yaml, tasks and restarts."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode, urljoin

import pytest

from gae_devserver.testing import DevServer
from gae_devserver.testing.requests import Response
from tests.helpers.app_folder import make_app
from tests.helpers.command import OWN_PYTHON

# Shows its user, makes the URL that the query asks for, or adds a task.
MAIN = """\
import json
from urllib.parse import parse_qs
from google.appengine.api import taskqueue, users, wrap_wsgi_app

def show(environ, start_response):
    query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
    user = users.get_current_user()
    admin, cookie = users.is_current_user_admin(), environ.get("HTTP_COOKIE")
    body = {"admin": admin, "cookie": cookie}
    if user:
        body["user"] = [user.email(), user.nickname(), user.user_id()]
        body["organization"] = environ["USER_ORGANIZATION"]
    if "task" in query:
        taskqueue.add(url=query["task"], countdown=60)
    if "login" in query:
        body["url"] = users.create_login_url(query["login"])
    if "logout" in query:
        body["url"] = users.create_logout_url(query["logout"])
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]

app = wrap_wsgi_app(show)
"""
HANDLERS = """\
app_engine_apis: true
handlers:
- url: /admin/static
  static_dir: files
  login: admin
- url: /admin/public
  script: auto
- url: /admin/.*
  script: auto
  login: admin
- url: /member/api
  script: auto
  login: required
  auth_fail_action: unauthorized
- url: /member/.*
  script: auto
  login: required
"""
CRON = """\
cron:
- url: /admin/job
  schedule: every 24 hours
"""
LOGIN = "/_ah/login"


def make(folder: Path) -> Path:
    """Make the app."""
    make_app(folder, MAIN, HANDLERS)
    (folder / "files").mkdir()
    (folder / "files" / "a.txt").write_text("static")
    (folder / "cron.yaml").write_text(CRON)
    return folder


@pytest.fixture(scope="module")
def devserver_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app with rules."""
    return make(tmp_path_factory.mktemp("users") / "app")


@pytest.fixture(scope="module")
def server(devserver_app: Path) -> Iterator[DevServer]:
    """A server for all tests of this module."""
    with DevServer(devserver_app, OWN_PYTHON) as server:
        yield server


def post(server: DevServer, path: str, **form: str) -> Response:
    """Send a form as the page of the server does."""
    headers = {
        "Origin": server.url,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return server.post(path, urlencode(form).encode(), headers)


@pytest.mark.parametrize(
    ("email", "admin", "nickname", "organization"),
    [
        ("ann@gmail.com", True, "ann", ""),
        (
            "Bob.O'Neill+x@example.com",
            False,
            "Bob.O'Neill+x@example.com",
            "example.com",
        ),
    ],
)
def test_the_users_api(
    server: DevServer, email: str, admin: bool, nickname: str, organization: str
) -> None:
    """The SDK in the app knows who is signed in; the app does not get the cookie."""
    user = server.sign_in(email, admin=admin)
    user["Cookie"] = f"a=b; {user['Cookie']}; c=d"

    shown = json.loads(server.get("/", user).text)

    *known, user_id = shown.pop("user")
    assert known == [email, nickname]
    assert re.fullmatch(r"1\d{20}", user_id)
    assert shown == {"admin": admin, "cookie": "a=b; c=d", "organization": organization}
    again = server.sign_in(email.upper())
    assert json.loads(server.get("/", again).text)["user"][2] == user_id


def test_without_a_user(server: DevServer) -> None:
    """Without a session there is no user."""
    assert json.loads(server.get("/").text) == {"admin": False, "cookie": None}


def test_the_id_of_a_user(server: DevServer) -> None:
    """An address has the same ID as on Google's dev server, so stored IDs stay."""
    shown = json.loads(server.get("/", server.sign_in("test@example.com")).text)
    assert shown["user"][2] == "185804764220139124118"


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/a?b=c&d=e%20f#g", "/a?b=c&d=e%20f#g"),
        ("a", "/a"),
        ("/é", "/%C3%A9"),
        ("{url}/x", "/x"),
    ],
)
def test_urls_of_the_pages(server: DevServer, asked: str, path: str) -> None:
    """The URLs of the users API lead to a form here, and from there back to the app."""
    asked = asked.format(url=server.url)
    query = urlencode({"login": asked})
    login = json.loads(server.get(f"/?{query}").text)["url"]
    form = server.get(login)
    assert form.status == 200
    assert login.startswith(LOGIN)
    destination = re.search(r'name="continue" value="([^"]+)"', form.text)
    assert destination
    back = destination[1].replace("&amp;", "&")
    answer = post(server, LOGIN, email="a@b.c", **{"continue": back})
    assert (answer.status, answer.headers["Location"]) == (303, path)

    query = urlencode({"logout": asked})
    logout = json.loads(server.get(f"/?{query}").text)["url"]
    answer = server.get(logout)
    assert (answer.status, answer.headers["Location"]) == (302, path)
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_the_page_shows_who_is_signed_in(server: DevServer) -> None:
    """It offers to sign out, and escapes what it shows; a GET signs no user in."""
    assert "formaction" not in server.get(LOGIN).text
    form = urlencode({"email": "a@b.c", "action": "Login", "continue": '/"><script>'})
    page = server.get(f"{LOGIN}?{form}")
    assert page.headers["Set-Cookie"] is None
    assert "<script>" not in page.text
    shown = server.get(LOGIN, server.sign_in("<b>@example.com", admin=True)).text
    assert "&lt;b&gt;@example.com, an administrator" in shown
    assert "<b>" not in shown
    answer = post(server, "/_ah/logout", **{"continue": "/x"})
    assert (answer.status, answer.headers["Location"]) == (303, "/x")


@pytest.mark.parametrize("email", ["", "ann", "a@b@c", "a b@c", "a@b\r\nX: y", "é@b.c"])
def test_what_is_no_address(server: DevServer, email: str) -> None:
    """The form comes again, with what was entered."""
    answer = post(server, LOGIN, email=email, **{"continue": "/x"})
    assert (answer.status, answer.headers["Set-Cookie"]) == (400, None)
    assert 'value="/x"' in answer.text
    assert f'value="{email}' in answer.text
    with pytest.raises(ValueError, match="e-mail"):
        server.sign_in(email)


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/", (200, 200, 200)),
        ("/admin/x?y", (302, 403, 200)),
        ("/admin/static/a.txt", (302, 403, 200)),
        ("/admin/public", (200, 200, 200)),
        ("/member/x", (302, 200, 200)),
        ("/member/api", (401, 200, 200)),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_rules(
    server: DevServer, method: str, path: str, statuses: Sequence[int]
) -> None:
    """The first handler that matches decides, without a user and for both kinds."""
    users: list[dict[str, str]] = [{}, server.sign_in("a@b.c")]
    users.append(server.sign_in("a@b.c", admin=True))
    answers = [server.request(method, path, user) for user in users]
    allowed = 405 if "static" in path and method == "POST" else 200
    assert [answer.status for answer in answers] == [
        allowed if status == 200 else status for status in statuses
    ]
    if statuses[0] == 302:
        login = urljoin(server.url, answers[0].headers["Location"])
        query = urlencode({"continue": server.url + path})
        assert login == f"{server.url}{LOGIN}?{query}"


@pytest.mark.parametrize(
    ("url", "status"), [("/admin/x", 200), ("/member/x", 302), ("/member/api", 401)]
)
def test_tasks(server: DevServer, url: str, status: int) -> None:
    """A task passes as an administrator, but it is no user, as on App Engine."""
    server.reset()
    server.get(f"/?{urlencode({'task': url})}")
    run = server.run_next_task()
    assert run
    assert (run.url, run.status) == (url, status)
    if status != 200:
        server.wait_for_log(f"warning: .*{url}.* 'login: admin'")


def test_cron_jobs(server: DevServer) -> None:
    """A job passes as an administrator."""
    assert server.run_cron("/admin/job") == 200


def test_a_restart_and_a_reset(tmp_path: Path) -> None:
    """With --storage a session survives a restart; a reset ends it in any case."""
    app = make(tmp_path / "app")
    options = (OWN_PYTHON, f"--storage={tmp_path / 'data'}")
    with DevServer(app, *options) as server:
        port = server.url.rpartition(":")[2]
        user = server.sign_in("a@b.c")
    with DevServer(app, *options, f"--port={port}") as server:
        assert server.get("/member/x", user).status == 200
        server.reset()
        assert server.get("/member/x", user).status == 302
        after = server.sign_in("a@b.c")
        assert after != user
        assert server.get("/member/x", after).status == 200


def test_two_servers(server: DevServer, devserver_app: Path) -> None:
    """A browser sends the cookies of both to each, and neither app gets any."""
    with DevServer(devserver_app, OWN_PYTHON) as other:
        first, second = server.sign_in("a@b.c"), other.sign_in("d@e.f", admin=True)
        both = {"Cookie": f"{second['Cookie']}; {first['Cookie']}"}
        for one, email in ((server, "a@b.c"), (other, "d@e.f")):
            shown = json.loads(one.get("/", both).text)
            assert (shown["user"][0], shown["cookie"]) == (email, None)
