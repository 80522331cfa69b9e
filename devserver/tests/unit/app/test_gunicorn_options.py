"""Where gunicorn listens: what an entrypoint says, and how that is changed."""

import pytest

from gae_devserver.app.gunicorn_options import (
    addresses,
    for_debugging,
    with_limits_and_bind,
    with_private_address,
)


@pytest.mark.parametrize(
    ("entrypoint", "expected"),
    [
        ("gunicorn main:app", []),
        ("gunicorn --config settings/gunicorn_conf.py main:app", []),
        ("/somewhere/bin/gunicorn -w 2 'main:create_app()'", []),
        ("python -m gunicorn main:app", []),
        ("gunicorn --threads $THREADS main:app", []),
        ("gunicorn -nbob -cb.py --backlog 5 main:app", []),
        ("gunicorn -b :$PORT main:app", [":$PORT"]),
        ("gunicorn -b:1 --bind [::]:2 --bind=:3 main:app", [":1", "[::]:2", ":3"]),
        ("gunicorn -Rb :1 -b=:2 --bi :3 --bind= main:app", [":1", ":2", ":3", ""]),
        ("env A=b gunicorn main:app", None),
        ("uvicorn main:app", None),
        ("python -m http.server gunicorn", None),
        ("", None),
        ("gunicorn 'unbalanced", None),
    ],
)
def test_the_addresses_of_an_entrypoint(
    entrypoint: str, expected: list[str] | None
) -> None:
    """All that a gunicorn is told; an entrypoint that starts no gunicorn has none."""
    assert addresses(entrypoint) == expected


@pytest.mark.parametrize(
    "before",
    [
        "gunicorn -b :$PORT main:app",
        "gunicorn -b 0.0.0.0:${PORT} main:app",
        "gunicorn --workers 2 --bind [::]:$PORT main:app",
        'gunicorn main:app --bind ":$PORT"',
        "gunicorn -Rb :${PORT:-8080} main:app",
        "gunicorn -b :8080 main:app",
        "gunicorn --bind=127.0.0.1:8080 main:app",
        "gunicorn -b tcp://localhost:$PORT main:app",
        "gunicorn -b=0:$PORT main:app",
        """gunicorn '--bi=:'"$PORT" main:app""",
        "gunicorn -b '0.0.0.0':\"$PORT\" main:app",
    ],
)
def test_the_private_address_in_place_of_port(before: str) -> None:
    """It replaces $PORT, and 8080, which is App Engine's $PORT."""
    assert addresses(with_private_address(before, "unix:/x.sock")) == ["unix:/x.sock"]


@pytest.mark.parametrize(
    "entrypoint",
    [
        "gunicorn -b 192.0.2.1:$PORT main:app",
        "gunicorn -b unix:app.sock main:app",
        "gunicorn --config conf/b:$PORT main:app",
        "uvicorn main:app --port $PORT --bind :$PORT",
        "hypercorn -b :$PORT main:app",
        "gunicorn -b 127.0.0.1:80801 main:app",
        "gunicorn -b 127.0.0.1:808 main:app",
        "gunicorn -nab --name a-b :$PORT",
    ],
)
def test_an_entrypoint_that_stays_as_it_is(entrypoint: str) -> None:
    """Only gunicorn's own address changes, and only if it is App Engine's port."""
    assert with_private_address(entrypoint, "unix:/x.sock") == entrypoint


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("uvicorn main:app --port 8080", "uvicorn main:app --port $PORT"),
        ("uwsgi --http-socket :8080 -p 4", "uwsgi --http-socket :$PORT -p 4"),
        (
            "waitress-serve --listen='*:8080' m:a",
            "waitress-serve --listen='*:8080' m:a",
        ),
        ("run --bind 0.0.0.0:8080 -n 18080", "run --bind 127.0.0.1:$PORT -n 18080"),
        ("run --host=0.0.0.0 --v 10.0.0.0.1", "run --host=127.0.0.1 --v 10.0.0.0.1"),
    ],
)
def test_the_port_of_another_program(before: str, after: str) -> None:
    """It listens on $PORT in place of 8080, and not on all addresses."""
    assert with_private_address(before, "unix:/x.sock") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("gunicorn -w4 -t 9 --threads 8 m:app", "{} --threads 1 m:app"),
        ("gunicorn --workers=2 -b :1 m:app", "{} --threads 1 -b :1 m:app"),
        ("sh -c 'gunicorn -w 2 m:app'", "sh -c '{} --threads 1 m:app'"),
        ("uvicorn --workers 2 m:app", "uvicorn --workers 2 m:app"),
    ],
)
def test_one_process_for_a_debugger(before: str, after: str) -> None:
    """Gunicorn gets one process, with one thread unless these are of the instance."""
    one = "gunicorn --workers 1 --timeout 0"
    assert for_debugging(before, "automatic") == after.format(one)
    before = "gunicorn -w 2 --threads 20 m:app"
    assert for_debugging(before, "basic") == f"{one} --threads 20 m:app"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("--workers 2 --name 'a b'", "--workers 2 --name 'a b' "),
        ("--bind=:1 --workers=1", "--workers=1 "),
        ("-DRb :1 -w2", "-DR -w2 "),
        ("-b:1 -b=:2 --bi :3", ""),
        ("--bind= -w 1 -b", "-w 1 "),
    ],
)
def test_one_address_in_place_of_all(before: str, after: str) -> None:
    """All addresses are replaced; the other options follow the server's limits."""
    bind = "--bind 'unix:/x y'"
    limits = with_limits_and_bind("", "unix:/x y").removesuffix(bind)
    assert with_limits_and_bind(before, "unix:/x y") == f"{limits}{after}{bind}"


def test_options_that_gunicorn_cannot_read() -> None:
    """Invalid options stay as they are: gunicorn reports what is wrong with them."""
    assert with_limits_and_bind("--name 'a", "unix:/x") == "--name 'a"
