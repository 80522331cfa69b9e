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

# A release whose vulnerabilities are known to every service that knows any.
CANARY = "django==1.8"


def audit(session: nox.Session) -> None:
    """Run pip-audit on the lock; skip the session if the service cannot be trusted."""
    with tempfile.TemporaryDirectory() as folder:
        command = (
            *("pip-audit", "--strict", "--disable-pip", "--progress-spinner=off"),
            # an answer of yesterday does not show that there is a service today
            f"--cache-dir={folder}/cache",
            *session.posargs,
        )
        # pip-audit reads none of pip's settings
        certificates = uv_settings().get("SSL_CERT_FILE")
        if certificates and "REQUESTS_CA_BUNDLE" not in os.environ:
            session.env["REQUESTS_CA_BUNDLE"] = certificates
        canary = Path(folder, "canary.txt")
        canary.write_text(f"{CANARY} --hash=sha256:{'0' * 64}\n")
        answer = session.run(
            *(*command, f"--requirement={canary}"),
            *("--format=columns", "--output=stdout"),
            silent=True,
            success_codes=[0, 1],
        )
        if answer is None:  # --install-only
            return
        reason = _why_not_audited(answer)
        if reason:
            # not failed: nothing was found; not passed: nothing was looked for
            session.skip(f"not audited: {reason}")
        # pip-audit leaves out what a marker keeps from this Python or this system
        everything = Path(folder, LOCK.name)
        everything.write_text(re.sub(r"(?m) ; .*(?= \\$)", "", LOCK.read_text()))
        session.run(*command, f"--requirement={everything}")


def _why_not_audited(answer: str) -> str:
    """Return why the service is not to be trusted, if it does not know the canary.

    A mirror of the package index may answer without such data. pip-audit then finds no
    known vulnerabilities, whatever it is asked about.
    """
    name, _, version = CANARY.partition("==")
    if re.search(rf"(?m)^{name} +{re.escape(version)} ", answer):
        return ""
    last = answer.strip().rpartition("\n")[2]
    if last.startswith("No known"):
        return f"the service knows no vulnerability of {CANARY}, which has many"
    return f"the service did not answer: {last}"
