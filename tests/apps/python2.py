"""A Python 2.7, with the modules that a Python 2 app would have."""

import base64
import json
import pathlib
import subprocess
from typing import Any

import pytest

# Only their names are pickled: no test calls a function of Python 2.
MODULES = {
    "shared/counter": "def do_something_later(key, amount): pass\n",
    "tests/apps/test_python2": "def note(argument): pass\n",
}

# If the two modules print different results, both are shown.
LOAD = """\
import base64, cPickle, json, pickle, sys

for payload in json.load(sys.stdin):
    loaded = []
    for module in (pickle, cPickle):
        try:
            function, args, options = module.loads(base64.b64decode(payload))
            loaded.append(', '.join(map(repr, args)))
        except Exception as error:
            loaded.append('%s: %s' % (type(error).__name__, error))
    print(' / '.join(sorted(set(loaded))))
"""

DUMP = """\
import base64, cPickle, datetime, decimal, json, pickle, sys
from shared.counter import do_something_later
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


class Python2:
    """Runs short programs, each in a process of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Write the modules of a Python 2 app into a folder."""
        self._executable = _find()
        self._folder = folder
        for module, text in MODULES.items():
            path = folder / f"{module}.py"
            path.parent.mkdir(parents=True)
            path.write_text(text)
            for package in path.relative_to(folder).parents[:-1]:
                (folder / package / "__init__.py").touch()

    def load(self, *payloads: bytes) -> list[str]:
        """Return each task's arguments as Python 2 shows them, or its error."""
        encoded = [base64.b64encode(payload).decode() for payload in payloads]
        return self._program(LOAD, encoded).splitlines()

    def dump(self, task: str, protocol: int) -> list[bytes]:
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


def _find() -> str:
    """Return the interpreter, or skip the test.

    pyenv's python2.7 may be a script that only says how to choose a version.
    """
    show = ["python2.7", "-c", "import sys; print(sys.executable)"]
    try:
        asked = subprocess.run(
            show, stdout=subprocess.PIPE, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs Python 2.7: {error}")
    return asked.stdout.strip()
