"""Which service a target means: in queue.yaml, cron.yaml, `_target` or a host name."""

import difflib
from collections.abc import Mapping

Versions = Mapping[str, str | None]
"""The services of the run, the main one first, each with its version."""


def service_of(target: str, services: Versions) -> str | None:
    """Return the service that a target names; None if it is not one of these.

    A target is SERVICE, VERSION.SERVICE, INSTANCE.VERSION.SERVICE or, in cron.yaml,
    SERVICE:VERSION. The service decides, because one version of each runs here. A
    version alone is one of the main service.
    """
    name = _name_in(target)
    if name in services:
        return name
    main = next(iter(services))
    return main if name == services[main] else None


def which_runs(services: Versions, target: str = "") -> str:
    """Return what follows "this server": the services, and what to do."""
    # more similar than py3-api and py3-web: services often begin in the same way
    near = difflib.get_close_matches(_name_in(target), services, n=1, cutoff=0.8)
    what = "To run it too, pass its YAML file."
    if near:
        what = f"Did you mean '{near[0]}'?"
    return f"runs: {', '.join(services)}. {what}"


def _name_in(target: str) -> str:
    return target.partition(":")[0].rpartition(".")[2]
