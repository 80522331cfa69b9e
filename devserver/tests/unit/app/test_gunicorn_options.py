"""Where a gunicorn listens: what an entrypoint says of it, and how that is changed."""

import pytest

from gae_devserver.app.gunicorn_options import (
    has_bind,
    on_loopback,
    options_of,
    with_bind,
)


@pytest.mark.parametrize(
    ("entrypoint", "expected"),
    [
        ("gunicorn main:app", True),
        ("gunicorn --config settings/gunicorn_conf.py main:app", True),
        ("/somewhere/bin/gunicorn -w 2 'main:create_app()'", True),
        ("python -m gunicorn main:app", True),
        ("gunicorn --threads $THREADS main:app", True),
        ("gunicorn -b :$PORT main:app", False),
        ("gunicorn -b:$PORT main:app", False),
        ("gunicorn --bind :$PORT main:app", False),
        ("gunicorn --bind=:$PORT main:app", False),
        ("gunicorn -Rb :$PORT main:app", False),
        ("gunicorn -b=:$PORT main:app", False),
        ("gunicorn --bi :$PORT main:app", False),
        ("gunicorn -nbob -cb.py --backlog 5 main:app", True),
        ("env A=b gunicorn main:app", False),
        ("uvicorn main:app", False),
        ("python main.py", False),
        ("python -m http.server gunicorn", False),
        ("", False),
        ("gunicorn 'unbalanced", False),
    ],
)
def test_which_entrypoints_get_a_socket(entrypoint: str, expected: bool) -> None:
    """A gunicorn that is not told where to listen; nothing else."""
    options = options_of(entrypoint)
    assert (options is not None and not has_bind(options)) is expected


@pytest.mark.parametrize(
    "entrypoint",
    [
        "gunicorn -b 192.0.2.1:$PORT main:app",
        "gunicorn -b unix:app.sock main:app",
        "gunicorn --config conf/b:$PORT main:app",
        "uvicorn main:app --port $PORT --bind :$PORT",
        "hypercorn -b :$PORT main:app",
        "hypercorn -b :8080 main:app",
        "gunicorn -b 127.0.0.1:80801 main:app",
        "gunicorn -b 127.0.0.1:808 main:app",
        "gunicorn -nab --name a-b :$PORT",
    ],
)
def test_an_entrypoint_that_stays_as_it_is(entrypoint: str) -> None:
    """Only the address of a gunicorn is changed, and only where it is none."""
    assert on_loopback(entrypoint) == entrypoint


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("--workers 2 --name 'a b'", "--workers 2 --name 'a b' "),
        ("--bind=:1 --workers=1", "--workers=1 "),
        ("-DRb :1 -w2", "-DR -w2 "),
        ("-b:1 -b=:2 --bi :3", ""),
        ("--bind= -w 1 -b", "-w 1 "),
    ],
)
def test_one_address_in_place_of_all(before: str, after: str) -> None:
    """The other options are kept."""
    assert with_bind(before, "unix:/x y") == f"{after}--bind 'unix:/x y'"


def test_options_that_gunicorn_cannot_read() -> None:
    """They are left as they are: gunicorn says what is wrong with them."""
    assert with_bind("--name 'a", "unix:/x") == "--name 'a"
