"""The public port, with an app that returns what it got."""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_devserver.http.limits import Limits
from tests.fuzz.client import FILE, Client, headers_of, running_client
from tests.fuzz.conftest import Reached
from tests.fuzz.headers import arriving, folded, is_app_engines, with_one_byte
from tests.fuzz.requests import (
    BROKEN_CHUNKS,
    LAST,
    NONE,
    OWN_HOSTS,
    STATIC,
    Request,
    requests,
)
from tests.helpers.http_messages import Recorded

HASTY = Limits(
    # the app's answer repeats the request
    answer_head=2**16,
    head_seconds=0.05,
    body_seconds=0.05,
    lingering_seconds=0.05,
    idle_seconds=3.0,
)
"""For requests that arrive in one packet, which takes no time."""
PATIENT = dataclasses.replace(HASTY, head_seconds=3.0, body_seconds=3.0)
"""For requests of which another packet follows, however loaded the machine is."""


@pytest.fixture
def client(
    tmp_path: Path, loop: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> Iterator[Client]:
    """A client of a front that waits for nothing."""
    with running_client(tmp_path / "hasty", HASTY, loop, caplog) as client:
        yield client


@pytest.fixture
def patient(
    tmp_path: Path, loop: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> Iterator[Client]:
    """A client of a front that waits for the rest of a request."""
    with running_client(tmp_path / "patient", PATIENT, loop, caplog) as client:
        yield client


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


@pytest.mark.reaches(refused=0.4)
@given(data=st.binary(min_size=1, max_size=200), ends=st.booleans())
def test_any_bytes(client: Client, reached: Reached, data: bytes, ends: bool) -> None:
    """Every client is refused, and the next one is answered."""
    replies = client.send(data + b"\r\n\r\n" if ends else data)
    reached("refused" if any(reply.status == 400 for reply in replies) else "other")


@pytest.mark.reaches(
    app=0.3, right=0.2, odd=0.03, forged=0.03, static=0.005, refused=0.1
)
@settings(max_examples=5 * settings().max_examples)
@given(request=requests())
def test_any_request(client: Client, reached: Reached, request: Request) -> None:
    """A valid request arrives unchanged; an odd one does too, or is refused."""
    first, *others = client.send(request.data)
    goals = set()
    if first.got is None:
        if first.status == 200 and request.method == b"GET":
            assert first.body == FILE
        served = first.status < 400 or first.all("Allow")
        goals = {"static" if served else "refused"}
    else:
        assert {host.lower() for host in request.hosts()} <= OWN_HOSTS
        if request.odd.isdisjoint({"headers", "body"}):
            check_exact(request, first.got)
        goals = {"app", "odd" if request.odd else "right"}
        if any(is_app_engines(name) for name, _ in request.headers):
            goals.add("forged")
    if not request.odd:
        assert first.got is not None or request.target.startswith(STATIC)
        assert len([reply for reply in others if reply.got]) == request.stays
    reached(*goals)


@pytest.mark.reaches(app=0.05, refused=0.3)
@given(
    data=requests(NONE)
    .filter(lambda request: request.stays)
    .flatmap(lambda request: with_one_byte(request.head + request.body.data))
)
def test_one_byte(client: Client, reached: Reached, data: bytes) -> None:
    """A request with one wrong byte is refused, or is still a valid one."""
    first, *_ = client.send(data + LAST)
    reached("refused" if first.got is None else "app")


@pytest.mark.reaches(app=0.2, broken=0.05)
@given(
    # if a header ends the head, another request may follow
    request=requests(
        st.sampled_from([(), (), ("body",), ("headers",)]).map(frozenset), BROKEN_CHUNKS
    ).filter(lambda request: not request.stays and request.has_one_head),
    before_body=st.booleans(),
    part=st.floats(0, 1),
)
def test_two_packets(
    client: Client,
    patient: Client,
    reached: Reached,
    request: Request,
    before_body: bool,
    part: float,
) -> None:
    """The end of a packet makes no difference, and a broken body is never awaited."""
    data = request.data
    place = len(request.head) if before_body and request.body.data else 0
    place = place or 1 + int(part * (len(data) - 2))
    whole = client.send(data)
    if any(reply.status == 408 for reply in whole):
        reached("unfinished")
        return
    late = patient.send(data, place)
    assert [reply.status for reply in late if reply.status == 408] == []
    if whole[0].got is None:
        # the error may be in the second packet, after the end of the request
        assert late[0].got is None or client.send(data[:place])[0].got is not None
        reached("broken" if "body" in request.odd else "refused")
        return
    for one, other in zip(whole, late, strict=True):
        assert one.got is not None
        assert other.got is not None
        assert one.got.from_outside == other.got.from_outside
        assert one.got.body == other.got.body
    reached("app")


@pytest.mark.reaches(body=0.02, head=0.1)
@given(request=requests(), in_body=st.booleans(), part=st.floats(0, 1))
def test_a_client_that_goes(
    patient: Client, reached: Reached, request: Request, in_body: bool, part: float
) -> None:
    """Nothing of its request is left, and no traceback is logged."""
    first = len(request.head) if in_body else 0
    last = len(request.data)
    place = first + int(part * (last - first))
    patient.go(request.data[:place])
    reached("body" if len(request.head) <= place < last else "head")
