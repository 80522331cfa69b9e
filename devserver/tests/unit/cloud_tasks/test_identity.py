"""OIDC tokens, verified by google.auth with the certificates of the API server."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from google.auth import exceptions
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from gae_devserver.cloud_tasks.identity import CERTIFICATES_PATH, Identity
from tests.helpers.api_port import ApiPort
from tests.helpers.calls import Server

pytestmark = pytest.mark.asyncio

EMAIL, AUDIENCE = "worker@sample-project.iam.gserviceaccount.com", "https://a.test/run"


@pytest_asyncio.fixture
async def port(server: Server) -> AsyncIterator[ApiPort]:
    """The API server, and the identity behind it."""
    port = ApiPort(server)
    await port.start()
    yield port
    await port.stop()


async def verified(port: ApiPort, token: str, audience: str) -> Any:
    """Return what a token says, as an app learns it."""
    url = f"http://127.0.0.1:{port.number}{CERTIFICATES_PATH}"
    return await asyncio.to_thread(
        id_token.verify_token, token, Request(), audience=audience, certs_url=url
    )


async def test_a_token_is_that_of_the_service_account(port: ApiPort) -> None:
    """google.auth accepts it, and finds what Google's tokens have."""
    now = time.time()
    claims = await verified(port, port.identity.token(EMAIL, AUDIENCE, now), AUDIENCE)
    subject = claims.pop("sub")
    assert subject.isdigit()
    assert claims == {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "azp": EMAIL,
        "email": EMAIL,
        "email_verified": True,
        "iat": int(now),
        "exp": int(now) + 3600,
    }
    again = await verified(port, port.identity.token(EMAIL, "b", now), "b")
    assert again["sub"] == subject


@pytest.mark.parametrize(
    ("of_this_run", "audience", "age"),
    [(True, "https://other.test", 0), (True, AUDIENCE, 3700), (False, AUDIENCE, 0)],
    ids=["another audience", "expired", "another run"],
)
async def test_a_token_that_is_not_valid(
    port: ApiPort, of_this_run: bool, audience: str, age: float
) -> None:
    """google.auth refuses it."""
    identity = port.identity if of_this_run else Identity()
    token = identity.token(EMAIL, AUDIENCE, time.time() - age)
    with pytest.raises((exceptions.GoogleAuthError, ValueError)):
        await verified(port, token, audience)
