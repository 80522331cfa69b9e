"""What to do if the app has ended before it was ready."""

from gae_devserver.app.advice import entrypoints, meanings, missing_module, tracebacks
from gae_devserver.app.advice.hints import Hints
from gae_devserver.app.advice.installation import Installation
from gae_devserver.app.gunicorn_options import DEFAULT_ENTRYPOINT
from gae_devserver.config.app_yaml import AppConfig


def what_to_do(
    reason: str, config: AppConfig, installation: Installation, hints: Hints
) -> str:
    """Return what the user can do about it.

    `reason` is one line that says how the app ended, and then what it printed.
    """
    restart = "" if installation.reloading else " and restart the server"
    fix = f"Fix the error{restart}."
    summary, _, printed = reason.partition("\n")
    entrypoint = config.entrypoint or DEFAULT_ENTRYPOINT
    advice = missing_module.advice(
        printed, entrypoint, installation, hints.modules
    ) or entrypoints.what_to_do(summary, printed, config, installation)
    if advice is not None:
        return advice
    error = tracebacks.last(printed)
    if error is None and "exit status 0 " in summary:
        return (
            "The entrypoint ended without an error. It must start a server that "
            f"listens on $PORT, as gunicorn does: {entrypoint}"
        )
    if error is None:
        output = "Its output is above." if printed.strip() else "It printed nothing."
        return f"{output} {fix}"
    meaning = meanings.of(error, config.folder)
    return f"{error.summary(config.folder)} {meaning.text if meaning else fix}"
