"""Runs the dev server as `nox -s serve` does, with advice about the samples."""

from gae_devserver.__main__ import main
from gae_devserver.app.hints import Hints

if __name__ == "__main__":
    main(
        Hints(
            install="noxfile.py installs it.",
            modules={
                # cp without -L leaves it behind
                "shared": "An app of this repository is copied, with it, by: "
                "python3 noxfile.py -s copy -- flask ../my_app"
            },
        )
    )
