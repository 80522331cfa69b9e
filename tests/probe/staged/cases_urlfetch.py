"""Calls of urlfetch, to the app itself and to addresses where nothing answers."""

from functools import partial
from typing import Any

from google.appengine.api import app_identity, urlfetch

PATH = "/counter/get"


def own(path: str = PATH) -> str:
    """Return a URL of this app."""
    return f"http://{app_identity.get_default_version_hostname()}{path}"


def fetch(url: str = "", **options: Any) -> Any:
    """Fetch a URL; return the status and the length of the content."""
    answer = urlfetch.fetch(url or own(), **options)
    return answer.status_code, len(answer.content), answer.content_was_truncated


def fetch_async() -> Any:
    """Fetch two URLs at once."""
    calls = [urlfetch.create_rpc(deadline=5) for _ in range(2)]
    for call in calls:
        urlfetch.make_fetch_call(call, own())
    return [call.get_result().status_code for call in calls]


def called_back() -> Any:
    """Return how often the callback of a call is called."""
    called: list[int] = []
    call = urlfetch.create_rpc(callback=lambda: called.append(1))
    urlfetch.make_fetch_call(call, own())
    call.wait()
    call.get_result()
    return len(called)


CASES: dict[str, Any] = {
    "get": fetch,
    "headers of the answer": lambda: urlfetch.fetch(own()).headers["content-type"],
    "final_url": lambda: urlfetch.fetch(own()).final_url,
    **{
        f"method {method}": partial(fetch, method=method, payload=b"a=b")
        for method in ("GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "post")
    },
    "missing page": lambda: fetch(own("/nothing")),
    "headers": lambda: fetch(
        headers={"X-Own": "1", "Content-Length": "5", "Host": "x"}
    ),
    "headers unicode": lambda: fetch(headers={"X-Own": "grün"}),
    "headers with line end": lambda: fetch(headers={"X-Own": "1\r\nX-Evil: 2"}),
    "payload over 10 MB": lambda: fetch(method="POST", payload=b"x" * 10_500_000),
    "follow_redirects": lambda: fetch(follow_redirects=False),
    "allow_truncated": lambda: fetch(allow_truncated=True),
    "deadline": lambda: fetch(deadline=5),
    "deadline 0": lambda: fetch(deadline=0),
    "deadline negative": lambda: fetch(deadline=-1),
    "url empty": lambda: urlfetch.fetch(""),
    "url file": lambda: fetch("file:///etc/passwd"),
    "url with bad port": lambda: fetch("http://localhost:99999/"),
    "url with text as port": lambda: fetch("http://localhost:port/"),
    "url unicode": lambda: fetch(own("/grün")),
    "url with space": lambda: fetch(own("/a b")),
    "url long": lambda: fetch(own("/" + "x" * 2100)),
    "url with fragment": lambda: fetch(own("/counter/get#part")),
    "host unknown": lambda: fetch("http://nothing.invalid/"),
    "nothing listens": lambda: fetch("http://localhost:9/"),
    "async": fetch_async,
    "callback": called_back,
    "rpc used twice": lambda: [
        call := urlfetch.create_rpc(),
        urlfetch.make_fetch_call(call, own()),
        urlfetch.make_fetch_call(call, own()),
    ],
}

GROUPS = {"urlfetch": CASES}
