"""Signs OIDC tokens for HTTP targets, with a key that exists only in this run."""

import datetime
import functools
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

CERTIFICATES_PATH = "/oauth2/v1/certs"
"""Where the API server has the certificates; Google has this path, too."""

_ISSUER = "https://accounts.google.com"
_LIFETIME_SECONDS = 3600
_ONE_DAY = datetime.timedelta(days=1)


class Identity:
    """What Google's identity service does for Cloud Tasks: OIDC tokens, certificates.

    Only an app that reads `certificates` accepts the tokens; Google knows no such key.
    """

    def token(self, email: str, audience: str, now: float) -> str:
        """Return an ID token of a service account, which is valid for an hour.

        `now` is the real time, by which the app verifies the token.
        """
        # imported late, like cryptography below, so that the server starts fast
        from google.auth import crypt, jwt

        claims = {
            "iss": _ISSUER,
            "aud": audience,
            "azp": email,
            "email": email,
            "email_verified": True,
            # Google's is a number of 21 digits, too, that stays the same for an account
            "sub": str(int(hashlib.sha256(email.encode()).hexdigest(), 16))[:21],
            "iat": int(now),
            "exp": int(now) + _LIFETIME_SECONDS,
        }
        signer = crypt.RSASigner(self._key, self._key_id)  # type: ignore[no-untyped-call]
        token: bytes = jwt.encode(signer, claims)  # type: ignore[no-untyped-call]
        return token.decode()

    def certificates(self) -> dict[str, str]:
        """Return the certificate (PEM) by key ID, as google.auth expects it."""
        return {self._key_id: self._certificate}

    @functools.cached_property
    def _key_id(self) -> str:
        return hashlib.sha256(self._certificate.encode()).hexdigest()[:40]

    @functools.cached_property
    def _key(self) -> "rsa.RSAPrivateKey":
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @functools.cached_property
    def _certificate(self) -> str:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        common_name = x509.NameAttribute(x509.NameOID.COMMON_NAME, "gae-devserver")
        name = x509.Name([common_name])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _ONE_DAY)
            .not_valid_after(now + 365 * _ONE_DAY)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()
