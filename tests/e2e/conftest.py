"""The version that --base-url names."""

import http.client

import pytest

from tests.servers.base import Site


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> Site:
    """The app at the address to test.

    If the app does not answer, end the run: every test would fail, some of them only
    after a minute.
    """
    url = pytestconfig.getoption("--base-url")
    if not url:
        pytest.skip("needs the --base-url of a deployed version")
    site = Site(url)
    try:
        status = site.get("/counter/get").status
    except (OSError, http.client.HTTPException) as error:
        # not every error has a text
        reason = str(error) or type(error).__name__
        pytest.exit(
            f"{url} does not answer: {reason}. Is the address right?", returncode=1
        )
    if status != 200:
        pytest.exit(
            f"{url}/counter/get answers {status}, not 200. Is the app deployed there?",
            returncode=1,
        )
    return site
