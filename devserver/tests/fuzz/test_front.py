"""The public port, with an app that returns what it got."""

from hypothesis import strategies as st

from tests.fuzz import echo
from tests.fuzz.bodies import BROKEN_CHUNKS
from tests.fuzz.conftest import Fuzz
from tests.fuzz.drawing import with_one_byte
from tests.fuzz.echo import FILE, Client, Reply, headers_of
from tests.fuzz.requests import (
    LAST,
    NONE,
    OWN_HOSTS,
    STATIC,
    Request,
    arriving,
    folded,
    is_app_engines,
    requests,
)
from tests.helpers.http_messages import Recorded

client = echo.client


def check_exact(request: Request, got: Recorded) -> None:
    """Check that the app got exactly what the client sent."""
    assert got.request_line == b"%s %s HTTP/1.1" % (request.method, request.target)
    expected = arriving(request.headers)
    named = {name for name, _ in expected}
    assert sorted(expected) == sorted(
        (folded(name), value)
        for name, value in headers_of(got)
        if not is_app_engines(name)
        and folded(name) != b"content-length"
        # the front adds a Host if a client of HTTP/1.0 has none
        and (folded(name) != b"host" or b"host" in named)
    )
    assert got.body == request.body.content


def check_static(method: bytes, reply: Reply) -> None:
    """Check that nothing else of the app's folder is sent."""
    assert b"entrypoint" not in reply.body
    if reply.status == 200 and method == b"GET":
        assert reply.body == FILE


def without_host(got: Recorded) -> list[bytes]:
    """Return the client's headers except Host, which differs for the two fronts."""
    return [line for line in got.from_outside if not line.startswith(b"Host:")]


def test_any_bytes(client: Client, fuzz: Fuzz) -> None:
    """Every client is refused, and the next one is answered."""

    def check(data: bytes, ends: bool) -> set[str]:
        replies = client.send(data + b"\r\n\r\n" if ends else data)
        return {str(reply.status) for reply in replies}

    ends = st.sampled_from([True, True, True, False])
    data = st.binary(min_size=1, max_size=200)
    fuzz("front: bytes", check, data, ends, at_least={"400": 0.4})


def test_any_request(client: Client, fuzz: Fuzz) -> None:
    """A valid request arrives unchanged; an odd one does too, or is refused."""
    own_hosts = {
        host + port for host in OWN_HOSTS for port in (b"", b":%d" % client.port)
    }

    def check(request: Request) -> set[str]:
        first, *others = client.send(request.data)
        if first.got is None:
            check_static(request.method, first)
            served = first.status < 400 or first.all("Allow")
            reached = {"static" if served else "refused"}
        else:
            client.check_got(first.got)
            assert {host.lower() for host in request.hosts()} <= own_hosts
            if request.odd.isdisjoint({"headers", "body"}):
                check_exact(request, first.got)
            reached = {"app", "odd" if request.odd else "right"}
            if any(is_app_engines(name) for name, _ in request.headers):
                reached.add("forged")
        if not request.odd:
            assert first.got is not None or request.target.startswith(STATIC)
            assert len([reply for reply in others if reply.got]) == request.stays
        for other in others:
            if other.got is not None:
                client.check_got(other.got)
        return reached

    at_least = {"app": 0.3, "right": 0.2, "odd": 0.03, "forged": 0.03}
    at_least |= {"static": 0.005, "refused": 0.1}
    fuzz("front: requests", check, requests(client.port), at_least=at_least)


def test_one_byte(client: Client, fuzz: Fuzz) -> None:
    """A request with one wrong byte is refused, or is still a valid one."""

    def check(data: bytes) -> set[str]:
        replies = client.send(data + LAST)
        for reply in replies:
            if reply.got is not None:
                client.check_got(reply.got)
            else:
                assert b"entrypoint" not in reply.body
        return {"refused" if replies[0].got is None else "app"}

    right = requests(client.port, st.just(NONE)).filter(lambda request: request.stays)
    data = right.flatmap(
        lambda request: with_one_byte(request.head + request.body.data)
    )
    fuzz("front: one byte", check, data, at_least={"app": 0.05, "refused": 0.3})


def test_two_packets(client: Client, fuzz: Fuzz) -> None:
    """The end of a packet makes no difference, and a broken body is never awaited."""

    def check(request: Request, before_body: bool, part: float) -> set[str]:
        data = request.data
        place = len(request.head) if before_body and request.body.data else 0
        place = place or 1 + int(part * (len(data) - 2))
        whole = client.send(data)
        if any(reply.status == 408 for reply in whole):
            return {"unfinished"}
        late = client.send_in_two(data, place)
        assert [reply.status for reply in late if reply.status == 408] == []
        if whole[0].got is None:
            # the error may be in the second packet, after the end of the request
            assert late[0].got is None or client.send(data[:place])[0].got is not None
            return {"broken"} if "body" in request.odd else set()
        for one, other in zip(whole, late, strict=True):
            assert one.got is not None
            assert other.got is not None
            assert without_host(one.got) == without_host(other.got)
            assert one.got.body == other.got.body
        return {"app"}

    odd = st.sampled_from([NONE, NONE, frozenset(["body"]), frozenset(["headers"])])
    drawn = requests(client.port, odd, BROKEN_CHUNKS).filter(
        # if a header ends the head, another request may follow
        lambda request: not request.stays and request.has_one_head
    )
    parts = st.floats(0, 1)
    at_least = {"app": 0.2, "broken": 0.05}
    fuzz("front: two packets", check, drawn, st.booleans(), parts, at_least=at_least)


def test_a_client_that_goes(client: Client, fuzz: Fuzz) -> None:
    """Nothing of its request is left, and no traceback is logged."""

    def check(request: Request, in_body: bool, part: float) -> set[str]:
        first = len(request.head) if in_body else 0
        last = len(request.data)
        place = first + int(part * (last - first))
        client.go(request.data[:place])
        return {"body"} if len(request.head) <= place < last else {"head"}

    drawn = requests(client.port)
    at_least = {"body": 0.02, "head": 0.1}
    fuzz("front: gone", check, drawn, st.booleans(), st.floats(0, 1), at_least=at_least)
