"""The machine, and the versions of what is measured."""

import functools
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
from importlib import metadata

PACKAGES = {
    "gae-devserver": "gae-devserver",
    "SDK": "appengine-python-standard",
    "google-cloud-ndb": "google-cloud-ndb",
    "google-cloud-tasks": "google-cloud-tasks",
    "gunicorn": "gunicorn",
}
CLOUD_SDK = {
    "Google Cloud SDK": "Google Cloud SDK",
    "dev_appserver.py": "app-engine-python",
    "Datastore emulator": "cloud-datastore-emulator",
}
"""What is shown -> its name in `gcloud version`."""


def machine() -> dict[str, str]:
    """Return what runs the bench."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "CPU": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{pages * size / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
    }


@functools.cache  # gcloud takes a second
def versions() -> dict[str, str]:
    """Return the versions of what is measured; what is not installed is left out."""
    found = {"Python": platform.python_version()}
    for name, package in PACKAGES.items():
        found[name] = metadata.version(package)
    if shutil.which("gcloud"):
        listed = json.loads(_output("gcloud", "version", "--format=json"))
        found.update({k: listed[v] for k, v in CLOUD_SDK.items() if v in listed})
    if shutil.which("java"):
        found["Java"] = _output("java", "-version").partition("\n")[0]
    return found


def _cpu() -> str:
    """Return the model of the processor."""
    info = pathlib.Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    named = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _output(*command: str) -> str:
    """Return what a command prints; java prints its version as an error."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout or done.stderr
