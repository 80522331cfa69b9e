"""The import of aiohttp without certificates."""

import os
from pathlib import Path

from tests.helpers.command import run_python
from tests.helpers.tls import Authority


def test_only_aiohttp_has_no_certificates(tmp_path: Path) -> None:
    """A context that is made after the import has those that this machine trusts."""
    code = """
import ssl
from gae_devserver.http import lean_import
lean_import.import_aiohttp()
import aiohttp
print(ssl.create_default_context().cert_store_stats())
"""
    variables = os.environ | {"SSL_CERT_FILE": str(Authority(tmp_path).file)}
    done = run_python("-c", code, env=variables)
    assert done.stdout == "{'x509': 1, 'crl': 0, 'x509_ca': 1}\n", done.stderr
