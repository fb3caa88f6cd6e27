"""JSON Web Tokens: verified into a principal, and issued for `tailrace token`.

The only file that names ``jwt``. Follows RFC 7519 and the best practice of RFC 8725: algorithms pinned to the key's
type, ``exp``, ``aud`` and ``sub`` required. Knows neither requests nor settings. No error holds a piece of the token or
of the key, in its message or in its cause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.exceptions import InvalidJTIError, InvalidSubjectError

from tailrace.errors import ConfigurationError, InvalidToken
from tailrace.session import session_problem

if TYPE_CHECKING:
    from pathlib import Path


PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

MAX_TOKEN_CHARACTERS = 8 * 1024
"""No header of ours may be larger anyway; checked before anything is decoded."""
MAX_SUBJECT_CHARACTERS = 256
MAX_SESSIONS = 1000
"""Entries of the claim ``sessions``: 8 KiB hold hardly more."""
MAX_PATTERN_CHARACTERS = 257
"""One entry: a session's name at its longest, and the star."""
MAX_NUMERIC_DATE = 253_402_300_799
"""The end of the year 9999. What lies beyond is, nearly always, milliseconds where RFC 7519 section 2 wants seconds."""
MAX_STREAM_SECONDS = 24 * 60 * 60
"""No admission lasts longer, however far off ``exp`` is: within a day, a key that was replaced is out of use."""
MIN_RSA_BITS = 2048
"""RFC 7518 section 3.3."""

TYPES = frozenset({"jwt", "at+jwt"})
"""Values of the header ``typ`` that a token to read with may have; a logout token, for one, may not (RFC 8725 3.11)."""

SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Algorithms of a shared secret, and its least length with each (RFC 7518 section 3.2)."""
RSA_ALGORITHMS = ("RS256", "PS256", "RS384", "PS384", "RS512", "PS512")
CURVE_ALGORITHMS = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}

_SENTENCES: dict[type[jwt.PyJWTError], str] = {
    jwt.InvalidAlgorithmError: "the token's algorithm is not accepted",
    jwt.InvalidSignatureError: "the token's signature does not match",
    jwt.InvalidAudienceError: "the token was made for another audience",
    jwt.InvalidIssuerError: "the token was made by another issuer",
    InvalidSubjectError: "the token's claim sub is not a string",
    InvalidJTIError: "the token's claim jti is not a string",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what they may read, as a verified token says.

    ``sessions`` holds names, or beginnings of names with a ``*`` at the end; another ``*`` is a plain character.
    ``expires_at`` is the token's own ``exp``, in Unix seconds.
    """

    subject: str
    sessions: tuple[str, ...]
    expires_at: float

    def may_read(self, session: str) -> bool:
        """Whether an entry is the session's name, or the beginning of it before a last ``*``."""
        return any(
            session.startswith(entry[:-1]) if entry.endswith("*") else session == entry for entry in self.sessions
        )

    def stream_ends_at(self, admitted_at: float) -> float:
        """When a stream admitted at ``admitted_at`` must end: with its token, and within ``MAX_STREAM_SECONDS``."""
        return min(self.expires_at, admitted_at + MAX_STREAM_SECONDS)


class Verifier:
    """Verifies tokens with one key; lives as long as the service. At 30 to 90 µs a token it needs no thread."""

    def __init__(
        self,
        key: str | PublicKey,
        algorithms: Sequence[str],
        audience: str,
        issuer: str | None = None,
        *,
        leeway_seconds: float = 10,  # clocks of two machines that keep time differ by less
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``leeway_seconds`` is for ``nbf`` alone: with ``exp`` it would admit a stream that has already ended."""
        self._key = key
        self._algorithms = list(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._leeway_seconds = leeway_seconds
        self._clock = clock

    @classmethod
    def from_secret(
        cls,
        secret: str,
        *,
        algorithms: Sequence[str] = (),
        audience: str,
        issuer: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Verifier:
        """Verify with a shared secret, by default HS256. Raises `ConfigurationError`."""
        pinned = _pinned(algorithms, ("HS256",), tuple(SECRET_BYTES), "a shared secret")
        for algorithm in pinned:
            _check_secret(secret, algorithm)
        return cls(secret, pinned, audience, issuer, clock=clock)

    @classmethod
    def from_public_key_file(
        cls,
        path: Path,
        *,
        algorithms: Sequence[str] = (),
        audience: str,
        issuer: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Verifier:
        """Verify with the PEM public key or certificate in ``path``; its type says with which algorithms.

        RSA: RS256 and PS256, the longer hashes when asked for; P-256, P-384, P-521: ES256, ES384, ES512; Ed25519 and
        Ed448: EdDSA. Raises `ConfigurationError`, which names the file.
        """
        key = _read_public_key(path)
        known = _algorithms_of(key, path)
        pinned = _pinned(algorithms, known[:2], known, f"the key in {path}")
        return cls(key, pinned, audience, issuer, clock=clock)

    def verify(self, token: str) -> Principal:
        """Return the principal that ``token`` speaks for. Raises `InvalidToken`, whatever the token is made of."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidToken(f"the token is longer than {MAX_TOKEN_CHARACTERS} characters")
        decoded = self._decode(token)
        _check_type(decoded["header"])
        claims = decoded["payload"]
        return Principal(_subject(claims), _sessions(claims), self._expiry(claims))

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode_complete(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": ["exp", "aud", "sub"],
                    # The times are checked below: PyJWT takes "12" for a date, and leeway for `exp` as well.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        # `from None`, because PyJWT's messages quote the token's header.
        except jwt.MissingRequiredClaimError as error:
            raise InvalidToken(f"the token has no claim {error.claim}") from None
        except jwt.PyJWTError as error:
            raise InvalidToken(_SENTENCES.get(type(error), "the token is not a well-formed JWT")) from None
        except (ValueError, TypeError):  # what a hostile header can still do to PyJWT; lone surrogates, for one
            raise InvalidToken("the token is not a well-formed JWT") from None

    def _expiry(self, claims: dict[str, Any]) -> float:
        now = self._clock()
        expires_at = _numeric_date(claims, "exp")
        if expires_at <= now:
            raise InvalidToken("the token has expired")
        if "nbf" in claims and _numeric_date(claims, "nbf") > now + self._leeway_seconds:
            raise InvalidToken("the token is not valid yet")
        return expires_at


def issue(
    secret: str,
    *,
    sessions: Sequence[str],
    subject: str,
    ttl_seconds: float,
    audience: str,
    issuer: str | None,
    now: float,
    algorithm: str = "HS256",
) -> str:
    """Sign a token that may read ``sessions`` from ``now`` (Unix seconds) on. Raises `ConfigurationError`."""
    _pinned([algorithm], (), tuple(SECRET_BYTES), "a shared secret")
    _check_secret(secret, algorithm)
    claims: dict[str, Any] = {"sub": subject, "aud": audience, "sessions": list(sessions)}
    claims |= {"iat": int(now), "exp": int(now + ttl_seconds)} | ({"iss": issuer} if issuer else {})
    return jwt.encode(claims, secret, algorithm)


def _check_secret(secret: str, algorithm: str) -> None:
    least = SECRET_BYTES[algorithm]
    if len(secret.encode()) < least:
        raise ConfigurationError([f"the JWT secret must have at least {least} bytes for {algorithm}"])
    try:
        jwt.encode({}, secret, algorithm)
    except jwt.InvalidKeyError:  # PyJWT takes no PEM, DER or JWK for a secret: it would refuse every token
        raise ConfigurationError(["the JWT secret looks like a public key; give that as a file instead"]) from None


def _pinned(asked: Sequence[str], usual: Sequence[str], known: Sequence[str], key: str) -> Sequence[str]:
    wrong = [algorithm for algorithm in asked if algorithm not in known]
    if wrong:
        raise ConfigurationError([f"{', '.join(wrong)} cannot be used with {key}, only {', '.join(known)}"])
    return asked or usual


def _read_public_key(path: Path) -> PublicKey:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigurationError([f"the JWT public key file {path} cannot be read: {error.strerror}"]) from error
    if b"PRIVATE KEY" in pem:
        raise ConfigurationError([f"{path} holds a private key; tailrace needs the public one, and only that"])
    try:
        is_certificate = b"BEGIN CERTIFICATE" in pem
        key = x509.load_pem_x509_certificate(pem).public_key() if is_certificate else load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError([f"{path} is not a PEM public key or certificate"]) from None
    if not isinstance(key, PublicKey):
        raise ConfigurationError([f"the key in {path} is not RSA, EC, Ed25519 or Ed448"])
    return key


def _algorithms_of(key: PublicKey, path: Path) -> tuple[str, ...]:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ConfigurationError([f"the RSA key in {path} has {key.key_size} bits, fewer than {MIN_RSA_BITS}"])
        return RSA_ALGORITHMS
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVE_ALGORITHMS:
            raise ConfigurationError([f"the key in {path} is on {key.curve.name}, not P-256, P-384 or P-521"])
        return CURVE_ALGORITHMS[key.curve.name]
    return ("EdDSA",)


def _check_type(header: dict[str, Any]) -> None:
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        raise InvalidToken("the token's typ is neither JWT nor at+jwt")


def _numeric_date(claims: dict[str, Any], claim: str) -> float:
    value = claims[claim]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_NUMERIC_DATE:
        raise InvalidToken(f"the token's claim {claim} is not a date in seconds since 1970")
    return float(value)


def _subject(claims: dict[str, Any]) -> str:
    subject: str = claims["sub"]
    if not (1 <= len(subject) <= MAX_SUBJECT_CHARACTERS and subject.isprintable()):
        raise InvalidToken(f"the token's claim sub is not 1 to {MAX_SUBJECT_CHARACTERS} printable characters")
    return subject


def _sessions(claims: dict[str, Any]) -> tuple[str, ...]:
    """Read the claim ``sessions``: a list of strings, or one. Without it the token is good, and for no session."""
    claim = claims.get("sessions", [])
    entries = [claim] if isinstance(claim, str) else claim
    if not isinstance(entries, list) or len(entries) > MAX_SESSIONS:
        raise InvalidToken(f"the token's claim sessions is not a list of at most {MAX_SESSIONS} strings")
    if not all(isinstance(entry, str) and 1 <= len(entry) <= MAX_PATTERN_CHARACTERS for entry in entries):
        raise InvalidToken(f"an entry of the token's claim sessions is not 1 to {MAX_PATTERN_CHARACTERS} characters")
    for entry in entries:
        if (problem := entry_problem(entry)) is not None:
            raise InvalidToken(f"an entry of the token's claim sessions covers no session: {problem}")
    return tuple(entries)


def entry_problem(entry: str) -> str | None:
    """Return why no session can be covered by ``entry``, or None.

    A ``*`` before the end is a character like any other: names may have it, and could not be granted alone otherwise.
    """
    if entry.endswith("**"):
        return "it ends in more than one '*'"
    if not entry.endswith("*"):
        return session_problem(entry)
    beginning = entry[:-1]
    return session_problem(beginning) and session_problem(f"{beginning}a")  # the whole name, or one that goes on
