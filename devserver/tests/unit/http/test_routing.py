"""Which service a request or a target is for."""

import pytest

from gae_devserver.config.dispatch_yaml import DispatchRule
from gae_devserver.http.routing import Routing, UnknownServiceError
from tests.helpers.calls import application


def rule(pattern: str, service: str) -> DispatchRule:
    """Return a rule for the pattern of a host and a path."""
    host, _, path = pattern.partition("/")
    return DispatchRule(host, f"/{path}", service, "dispatch.yaml, line 4")


def routing(*rules: tuple[str, str]) -> Routing:
    """Return the routing to three services with these rules."""
    services = {"api": "v1", "default": "v2", "worker": "v3"}
    return Routing(services, "default", [rule(*pair) for pair in rules], "proj")


@pytest.mark.parametrize(
    ("target", "service"),
    [
        ("worker", "worker"),
        ("v3.worker", "worker"),
        ("other.worker", "worker"),
        ("0.v3.worker", "worker"),
        ("worker:v3", "worker"),
        ("v2", "default"),
        ("v3", None),
        ("wroker", None),
        ("", None),
    ],
)
def test_a_target(target: str, service: str | None) -> None:
    """The service decides; a version alone is one of the main service.

    The error for a service that does not run lists those that do, and one is meant.
    """
    if service is not None:
        assert routing().named(target) == service
        return
    with pytest.raises(UnknownServiceError) as caught:
        routing().named(target)
    assert f"'{target}'" in str(caught.value)
    assert "default, api, worker" in str(caught.value)
    assert ("'worker'" in str(caught.value)) == (target == "wroker")


@pytest.mark.parametrize(
    ("host", "target", "service"),
    [
        ("localhost:8080", "/", "default"),
        ("127.0.0.1:8080", "/a/b", "api"),
        ("127.0.0.1", "/a/b?x=/w/", "api"),
        ("[::1]:8080", "/%61/", "api"),
        ("localhost", "/%2561/", "default"),
        ("localhost", "http://localhost/a/", "api"),
        ("devserver:8080", "/home", "worker"),
        ("localhost", "/home?x", "worker"),
        ("localhost", "/_ah/a/", "default"),
        ("Worker.LOCALHOST:8080", "/", "worker"),
        ("worker.localhost", "/a/", "api"),
        ("v3.worker.localhost:8080", "/a/", "worker"),
        ("v2.localhost", "/", "default"),
        ("v2.localhost", "/a/", "api"),
        ("nothing.localhost", "/", "default"),
        ("nothing.localhost", "/a/", "api"),
        ("proj.appspot.com", "/home", "worker"),
        ("proj.uc.r.appspot.com", "/home", "worker"),
        ("worker-dot-proj.uc.r.appspot.com", "/a/", "api"),
        ("v3-dot-worker-dot-proj.appspot.com", "/a/", "worker"),
        ("api.localhost", "/secret", "worker"),
        ("api.localhost", "/", "api"),
        ("www.shop.test", "/", "worker"),
        ("WWW.Shop.Test:8080", "/a/", "api"),
        ("shop.test", "/home", "default"),
    ],
)
def test_a_request(host: str, target: str, service: str) -> None:
    """The first rule that matches decides, then the service in the host, then main.

    No rule is for a version of a service, or for an internal path.
    """
    routes = routing(
        ("*/a/*", "api"),
        ("*/_ah/*", "api"),
        ("proj.ew.r.appspot.com/home", "worker"),
        ("api.proj.appspot.com/secret", "worker"),
        ("*.shop.test/*", "worker"),
        ("*/home", "default"),
    )
    assert routes.for_request(host, target) == service
    routes.apply(application())
    assert routes.for_request("localhost", "/a/") == "default"


def test_a_rule_of_a_service_that_does_not_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error has the service, the line and the services that run.

    No warning about the host of such a rule says how to try it.
    """
    routes = routing(("shop.test/*", "shop"), ("*/a/*", "shop"))
    assert caplog.messages == []
    assert routes.for_request("localhost", "/") == "default"
    with pytest.raises(UnknownServiceError) as caught:
        routes.for_request("localhost", "/a/")
    for fact in ("'shop'", "dispatch.yaml, line 4", "default, api, worker"):
        assert fact in str(caught.value)


@pytest.mark.parametrize(
    ("host", "fact"),
    [
        ("shop.test", "'Host: shop.test'"),
        ("*.shop.test", "'Host: www.shop.test'"),
        ("*-a.shop.test", "'Host: x-a.shop.test'"),
        ("other.uc.r.appspot.com", "--project"),
        ("proj.uc.r.appspot.com", None),
        ("worker.proj.appspot.com", None),
        ("*.appspot.com", None),
        ("*host", None),
        ("*", None),
    ],
)
def test_a_rule_for_another_host(
    host: str, fact: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule that only a Host header can match causes a warning."""
    routing((f"{host}/*", "api"))
    warnings = caplog.messages
    assert len(warnings) == (fact is not None)
    assert all(f"{fact}" in text for text in warnings)
    assert all(text.startswith("dispatch.yaml, line 4: ") for text in warnings)
