"""Imports aiohttp without the certificates that this machine trusts."""

import importlib
import ssl


def import_aiohttp() -> None:
    """Import the package, before any other module of the server does.

    It would read all certificates twice, which takes longer than everything else in it,
    and 4 MB. So its default context for TLS trusts no server. A session that connects
    with TLS needs a context of its own, as that of HTTP targets has.
    """
    method = "set_default_verify_paths"
    setattr(ssl.SSLContext, method, lambda _: None)
    try:
        importlib.import_module("aiohttp")
    finally:
        delattr(ssl.SSLContext, method)  # what it inherits is there again
