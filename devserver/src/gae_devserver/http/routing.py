"""Decides which service a request or a task is for."""

import dataclasses
import ipaddress
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from gae_devserver.config.application import Application
from gae_devserver.config.dispatch_yaml import INTERNAL, DispatchRule
from gae_devserver.config.targets import service_of, which_runs
from gae_devserver.http.static_files import path_of

logger = logging.getLogger("gae_devserver")

_APPSPOT = ".appspot.com"
_PORT = re.compile(r":[0-9]*$")
# such as co.uk, under which anyone can register a name
_REGISTRY = re.compile(r"[a-z]{2,3}\.[a-z]{2}")
_REGION = re.compile(r"\.[a-z0-9-]+\.r\.appspot\.com$")


class UnknownServiceError(Exception):
    """A service does not run here; the message lists those that do."""


class Routing:
    """The services of the run, and the rules of dispatch.yaml.

    https://cloud.google.com/appengine/docs/standard/how-requests-are-routed
    """

    def __init__(
        self,
        services: Mapping[str, str],
        main: str,
        rules: Sequence[DispatchRule],
        project: str,
    ) -> None:
        """Route to these services, each with its version."""
        self._services = {main: services[main], **services}
        self._main = main
        self._app_host = f"{project}{_APPSPOT}"
        self._use(rules)

    @property
    def services(self) -> Collection[str]:
        """The services that run, the main one first."""
        return self._services.keys()

    @property
    def main(self) -> str:
        """The service that gets what no other one gets."""
        return self._main

    @property
    def only_service(self) -> str | None:
        """The service, if there is no other one."""
        return self._main if len(self._services) == 1 else None

    def apply(self, application: Application) -> None:
        """Use the rules of a changed dispatch.yaml."""
        if [*application.dispatch] != [rule for _, rule in self._rules]:
            self._use(application.dispatch)

    def _use(self, rules: Sequence[DispatchRule]) -> None:
        self._rules = [
            (dataclasses.replace(rule, host=_without_region(rule.host)), rule)
            for rule in rules
        ]
        for warning in self._warnings():
            logger.warning("%s", warning)

    def named(self, target: str) -> str:
        """Return the service of a target, such as worker or v1.worker.

        Raises:
            UnknownServiceError: it does not run here.
        """
        found = service_of(target, self._services)
        if found is None:
            raise self._unknown(target)
        return found

    def target_in(self, host: str) -> str:
        """Return the target that a Host names, such as v1.worker, or "".

        A host of dispatch.yaml is none, unless a service has its name: the SDK sends
        that of the visit with each task that has no target.
        """
        target = self._parsed(host)[1]
        is_service = service_of(target, self._services) is not None
        return target if is_service or not self.is_host(host) else ""

    def for_request(self, host: str, target: str) -> str:
        """Return the service for a request's Host and target.

        As in production, a name that no service has is ignored.

        Raises:
            UnknownServiceError: dispatch.yaml has another service for it.
        """
        hosts, prefix = self._parsed(host)
        service = service_of(prefix, self._services) if prefix else None
        is_targeted = "." in prefix and service is not None
        if not is_targeted and self._rules:
            path = path_of(target)
            if not path.startswith(INTERNAL):
                for rule, original in self._rules:
                    if any(rule.matches(name, path) for name in hosts):
                        return self._of(original)
        return service or self._main

    def is_host(self, host: str) -> bool:
        """Return whether a Host is the name of a service, or one of dispatch.yaml.

        No stranger can have such a name, so no page of theirs reads our answers under
        it. But a stranger can have one of those that `*.com`, `*.co.uk` and `*shop.com`
        stand for.
        """
        name = _PORT.sub("", host.lower())
        prefix, _, end = name.rpartition(".")
        if end == "localhost" and service_of(prefix, self._services) is not None:
            return True
        name = _without_region(name)
        return any(
            rule.matches_host(name) and _is_of_its_owner(rule.host, name)
            for rule, _ in self._rules
        )

    def _warnings(self) -> Iterator[str]:
        """Yield a sentence for each rule that never matches this server's own host."""
        services = [f"{name}." for name in self._services]
        own = [
            f"{prefix}{host}"
            for host in ("localhost", self._app_host)
            for prefix in ("", *services)
        ]
        for rule, original in self._rules:
            if any(rule.matches_host(name) for name in own):
                continue
            if rule.service not in self._services:  # there is a warning about that
                continue
            example = re.sub(r"^\*(?=\.)", "www", original.host)
            example = re.sub(r"^\*(?=-)", "x", example).lstrip("*")
            other = ""
            if rule.host.endswith(_APPSPOT):
                other = ", or start the server with the --project of this host"
            yield (
                f"{original.where}: requests to localhost never match "
                f"'{original.host}'. To try this rule, send a request with "
                f"-H 'Host: {example}'{other}."
            )

    def _parsed(self, host: str) -> tuple[list[str], str]:
        """Return the names with which rules are compared, and the target in a Host."""
        name = _without_region(_PORT.sub("", host.lower()).replace("-dot-", "."))
        for own in ("localhost", self._app_host):
            if name == own or name.endswith(f".{own}"):
                prefix = name.removesuffix(own)
                return [name, f"{prefix}{self._app_host}"], prefix.rstrip(".")
        return ([name, self._app_host] if _is_local(name) else [name]), ""

    def _of(self, rule: DispatchRule) -> str:
        if rule.service not in self._services:
            raise self._unknown(rule.service, f" ({rule.where})")
        return rule.service

    def _unknown(self, target: str, where: str = "") -> UnknownServiceError:
        runs = which_runs(self._services, target)
        return UnknownServiceError(
            f"there is no service '{target}'{where} on this server, which {runs}"
        )


def _without_region(host: str) -> str:
    """Return a host as apps had it before regions: the region of a project is fixed."""
    return _REGION.sub(_APPSPOT, host)


def _is_of_its_owner(pattern: str, name: str) -> bool:
    """Return whether the owner of a pattern alone can have a name that it matches."""
    if name == pattern.lstrip("*"):
        return bool(name)
    # `*-a.shop.com` is for names of shop.com; `*shop.com` is for names of com
    domain = pattern.partition(".")[2]
    return "." in domain and not _REGISTRY.fullmatch(domain)


def _is_local(name: str) -> bool:
    """Return whether a host is an address, or a name that only a network knows."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name
    return True
