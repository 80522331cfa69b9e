"""Runs pip-audit on the lock, if the vulnerability service has data."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.environments import LOCK, uv_settings

if TYPE_CHECKING:
    import nox

# Every service that has any data knows vulnerabilities of this release.
CANARY = "django==1.8"


def audit(session: nox.Session) -> None:
    """Run pip-audit on the lock; skip the session if the service has no data."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["pip-audit", "--strict", "--disable-pip", "--progress-spinner=off"]
        # a cached answer does not show that the service answers now
        command += [f"--cache-dir={folder}/cache", *session.posargs]
        # pip-audit does not read pip's settings
        certificates = uv_settings().get("SSL_CERT_FILE")
        if certificates and "REQUESTS_CA_BUNDLE" not in os.environ:
            session.env["REQUESTS_CA_BUNDLE"] = certificates
        canary = Path(folder, "canary.txt")
        canary.write_text(f"{CANARY} --hash=sha256:{'0' * 64}\n")
        options = [f"--requirement={canary}", "--format=columns", "--output=stdout"]
        answer = session.run(*command, *options, silent=True, success_codes=[0, 1])
        if answer is None:  # --install-only
            return
        reason = _why_not_audited(answer)
        if reason:
            # neither passed nor failed: nothing was looked up
            session.skip(f"not audited: {reason}")
        # pip-audit ignores a line whose marker excludes this Python or this system
        everything = Path(folder, LOCK.name)
        everything.write_text(re.sub(r"(?m) ; .*(?= \\$)", "", LOCK.read_text()))
        session.run(*command, f"--requirement={everything}")


def _why_not_audited(answer: str) -> str:
    """Return why the answer about the canary cannot be trusted, or an empty text.

    A mirror of the package index may answer without data about vulnerabilities.
    pip-audit then finds no known vulnerabilities in any package.
    """
    name, _, version = CANARY.partition("==")
    if re.search(rf"(?m)^{name} +{re.escape(version)} ", answer):
        return ""
    last = answer.strip().rpartition("\n")[2]
    if last.startswith("No known"):
        return f"the service knows no vulnerability of {CANARY}, which has many"
    return f"the service did not answer: {last}"
