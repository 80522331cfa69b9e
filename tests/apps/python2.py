"""A Python 2.7, with the modules that a Python 2 app would have."""

import base64
import json
import pathlib
import shutil
import subprocess
from typing import Any

MODULES = {
    "shared/counter": """\
from __future__ import absolute_import

seen = []
counts = {}


def do_something_later(key, amount):
    seen.append([type(key).__name__, type(amount).__name__])
    counts[key] = counts.get(key, 0) + amount


class Counter(object):
    \"\"\"An entity, which is pickled as the bytes of its protocol buffer.\"\"\"

    def __init__(self, state):
        self.state = state

    def __getstate__(self):
        return self.state
""",
    # only their names are pickled
    "tests/apps/test_python2": "def note(argument): pass\n",
    "google/appengine/ext/deferred/deferred": "def run_from_datastore(key): pass\n",
}

# What Python 2's SDK does with a payload, with either of Python 2's two modules.
RUN = """\
import base64, cPickle, json, pickle, sys
from shared import counter

for payload in json.load(sys.stdin):
    for module in (pickle, cPickle):
        function, args, options = module.loads(base64.b64decode(payload))
        function(*args, **options)
json.dump([counter.counts, counter.seen], sys.stdout)
"""

# If the two modules print different results, both are shown.
LOAD = """\
import base64, cPickle, json, pickle, sys

for payload in json.load(sys.stdin):
    loaded = []
    for module in (pickle, cPickle):
        try:
            function, args, options = module.loads(base64.b64decode(payload))
            loaded.append(repr(args[0]))
        except Exception as error:
            loaded.append('%s: %s' % (type(error).__name__, error))
    print(' / '.join(sorted(set(loaded))))
"""

DUMP = """\
import base64, cPickle, datetime, decimal, json, pickle, sys
from google.appengine.ext.deferred.deferred import run_from_datastore
from shared.counter import Counter, do_something_later
from tests.apps.test_python2 import note

task, protocol = json.load(sys.stdin)
for module in (pickle, cPickle):
    print(base64.b64encode(module.dumps(eval(task), protocol)))
"""

COMPILE = """\
import json, sys

for block in json.load(sys.stdin):
    compile(block, 'block', 'exec')
"""


class NotThereError(Exception):
    """This machine has no Python 2.7; the message says what was tried."""


class Python2:
    """Runs short programs, each in a process of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Write the modules of a Python 2 app into a folder.

        Raises:
            NotThereError: there is no python2.7, or it does not run.
        """
        self._executable = _find()
        self._folder = folder
        for module, text in MODULES.items():
            path = folder / f"{module}.py"
            path.parent.mkdir(parents=True)
            path.write_text(text)
            for package in path.relative_to(folder).parents[:-1]:
                (folder / package / "__init__.py").touch()

    def run(self, *payloads: bytes) -> tuple[dict[str, int], list[list[str]]]:
        """Run tasks twice each; return the counts, and the types of the arguments."""
        counts, seen = json.loads(self._program(RUN, _encoded(payloads)))
        return counts, seen

    def load(self, *payloads: bytes) -> list[str]:
        """Return what Python 2 shows of each task's first argument, or its error."""
        return self._program(LOAD, _encoded(payloads)).splitlines()

    def dump(self, task: str, protocol: int = 2) -> list[bytes]:
        """Return the payloads of a task, from both of Python 2's modules.

        `task` is Python 2's expression for the tuple (function, arguments, options).
        """
        lines = self._program(DUMP, [task, protocol]).splitlines()
        return [base64.b64decode(line) for line in lines]

    def compile(self, blocks: list[str]) -> None:
        """Check that these are programs of Python 2."""
        self._program(COMPILE, blocks)

    def _program(self, program: str, given: Any) -> str:
        file = self._folder / "program.py"
        file.write_text(program)
        ended = subprocess.run(
            [self._executable, "-E", "-s", "-B", file],
            cwd=self._folder,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def _encoded(payloads: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(payload).decode() for payload in payloads]


def _find() -> str:
    """Return the interpreter; pyenv's python2.7 may be a script that only fails."""
    command = shutil.which("python2.7")
    if command is None:
        raise NotThereError("there is no python2.7 on the PATH")
    show = "import sys; print(sys.executable)"
    asked = subprocess.run(
        [command, "-c", show], capture_output=True, text=True, timeout=60, check=False
    )
    if asked.returncode != 0:
        reason = (asked.stderr.strip() or "no reason given").splitlines()[0]
        raise NotThereError(f"{command} does not run: {reason}")
    return asked.stdout.strip()
