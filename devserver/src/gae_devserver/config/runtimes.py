"""Reads the Python that `runtime` names, and refuses what this server cannot run."""

import re

from gae_devserver.config.parsing import ConfigError, YamlFile

GUIDE = "docs/python2-to-python3.md in gae-devserver's repository"
"""Where to read about apps for Python 2."""
_OLDEST = 7
"""App Engine's first runtime for Python 3 was python37."""
# the same without a YAML parser, for files that are not valid YAML
_PYTHON_2 = re.compile(
    r"""^(["']?)runtime\1[ \t]*:[ \t]*(["']?)(python(?:2\d*)?)\2[ \t]*(?:\#.*)?$""",
    re.MULTILINE,
)
_FLEXIBLE = re.compile(r"""^env[ \t]*:[ \t]*["']?(flex|flexible|2)\b""", re.MULTILINE)
_EXAMPLE = "Write for example 'runtime: python313'."


def refuse_python_2(text: str, path: object) -> None:
    """Raise a ConfigError if a file is for Python 2, whatever else is in it."""
    found = _PYTHON_2.search(text)
    # in the flexible environment, python is Python 3
    if found and not (found[3] == "python" and _FLEXIBLE.search(text)):
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(
            f"{path}, line {line}: runtime: {found[3]} is Python 2, but this server "
            f"runs only Python 3. {_EXAMPLE} For the other changes, see {GUIDE}."
        )


def python_of(file: YamlFile) -> tuple[int, int] | None:
    """Return the Python that a file names; None: any Python 3.

    Raises:
        ConfigError: it names something else.
    """
    env = file.value("env") or "standard"
    if env in ("flex", "flexible", "2"):
        raise file.error(
            f"env: {env} is App Engine's flexible environment, but this server runs "
            "apps of the standard environment. To use that, delete 'env'. " + _EXAMPLE,
            "env",
        )
    if env not in ("standard", "1"):
        raise file.error(
            f"'{env}' is not an environment. Write 'env: standard', or delete 'env'.",
            "env",
        )
    runtime = file.value("runtime")
    if runtime is None:
        # an unknown setting may be its misspelling, which is reported later
        return None
    if match := re.fullmatch(r"python3(\d\d?)?", runtime):
        if match[1] is None:
            return None
        if int(match[1]) >= _OLDEST and not match[1].startswith("0"):
            return 3, int(match[1])
    digits = re.sub(r"\D", "", runtime)
    letters = re.sub(r"[\W\d_]", "", runtime).lower()
    if letters in ("python", "py", "") and re.fullmatch(r"3([7-9]|[1-9]\d)", digits):
        advice = f"Write 'runtime: python{digits}'."
    elif letters.startswith("py"):
        advice = f"The oldest is python3{_OLDEST}. {_EXAMPLE}"
    else:
        advice = f"This server runs only Python 3. {_EXAMPLE}"
    raise file.error(
        f"'{runtime}' is not a Python 3 runtime of App Engine. {advice}", "runtime"
    )
