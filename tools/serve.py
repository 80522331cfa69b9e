"""Runs the dev server as `nox -s serve` does, with advice about the samples."""

import sys

try:
    from gae_devserver.__main__ import main
    from gae_devserver.app.advice.hints import Hints
except ModuleNotFoundError as error:
    sys.exit(
        f"the package {error.name} is not installed for {sys.executable}. Start the "
        "server with: python3 noxfile.py -s serve -- flask"
    )

if __name__ == "__main__":
    main(
        Hints(
            modules={
                # `cp -r` copies only the link
                "shared": "To copy a sample together with it, run: "
                "python3 noxfile.py -s copy -- flask ../my_app"
            },
        )
    )
