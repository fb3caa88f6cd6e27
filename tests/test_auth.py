"""Tokens: who they admit, whom they refuse, and in which words."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tailrace.auth import MAX_STREAM_SECONDS, Principal, Verifier, issue
from tailrace.auth.token import MAX_SESSIONS, MAX_TOKEN_CHARACTERS
from tailrace.errors import ConfigurationError, InvalidToken

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a secret that is for tests and only for tests, and has more than 64 bytes"
NOW = 1_800_000_000.0
COVERS_NONE = "an entry of the token's claim sessions covers no session: "
CLAIMS: dict[str, Any] = {"sub": "ada", "aud": "tailrace", "exp": NOW + 60, "sessions": ["chat/ada"]}
RSA_KEY = rsa.generate_private_key(65537, 2048)
P256_KEY, P384_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def verifier(**options: Any) -> Verifier:
    """Make the verifier of these tests, whose clock stands still."""
    return Verifier.from_secret(SECRET, **{"audience": "tailrace", "clock": lambda: NOW, **options})


def token(*without: str, header: dict[str, Any] | None = None, key: str = SECRET, **claims: Any) -> str:
    """Sign the usual claims, changed by ``claims``, ``without`` some of them."""
    payload = {name: value for name, value in {**CLAIMS, **claims}.items() if name not in without}
    return jwt.encode(payload, key, "HS256", headers=header)


def raw_token(header: object, payload: bytes) -> str:
    """Join parts that no library would sign, with a signature that cannot be right."""
    parts = (json.dumps(header).encode(), payload, b"signature")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def refusal(text: str, **options: Any) -> str:
    """Give the sentence with which the token is refused."""
    with pytest.raises(InvalidToken) as caught:
        verifier(**options).verify(text)
    return caught.value.detail


def write_public(path: Path, private_key: Any) -> Path:
    """Write the public half as PEM."""
    path.write_bytes(private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def from_file(path: Path, **options: Any) -> Verifier:
    """Make a verifier with a public key."""
    return Verifier.from_public_key_file(path, audience="tailrace", clock=lambda: NOW, **options)


def problem(path: Path, **options: Any) -> str:
    """Give the sentence with which the key file is refused."""
    with pytest.raises(ConfigurationError) as caught:
        from_file(path, **options)
    return caught.value.problems[0]


def test_a_good_token_gives_its_principal() -> None:
    """The subject, the sessions and the real end come from the claims."""
    assert Principal("ada", ("chat/ada",), NOW + 60) == verifier().verify(token())


@pytest.mark.parametrize(
    "text, expected",
    [
        (token(exp=NOW), "the token has expired"),
        (token(nbf=NOW + 11), "the token is not valid yet"),
        (token(aud="billing"), "the token was made for another audience"),
        (token(key=SECRET[::-1]), "the token's signature does not match"),
        (token("exp"), "the token has no claim exp"),
        (token("aud"), "the token has no claim aud"),
        (token("sub"), "the token has no claim sub"),
        (token(sub=7), "the token's claim sub is not a string"),
        (token(sub=""), "the token's claim sub is not 1 to 256 printable characters"),
        (token(sub="a\nb"), "the token's claim sub is not 1 to 256 printable characters"),
        (token(sub="\ud800"), "the token's claim sub is not 1 to 256 printable characters"),
        (token(sub="a" * 257), "the token's claim sub is not 1 to 256 printable characters"),
        (token(jti=7), "the token's claim jti is not a string"),
        (token(exp=str(NOW + 60)), "the token's claim exp is not a date in seconds since 1970"),
        (token(exp=True), "the token's claim exp is not a date in seconds since 1970"),
        (token(exp=-1), "the token's claim exp is not a date in seconds since 1970"),
        (token(exp=float("nan")), "the token's claim exp is not a date in seconds since 1970"),
        (token(exp=NOW * 1000), "the token's claim exp is not a date in seconds since 1970"),
        (token(nbf=float("inf")), "the token's claim nbf is not a date in seconds since 1970"),
        (token(nbf=None), "the token's claim nbf is not a date in seconds since 1970"),
        (token(sessions=7), f"the token's claim sessions is not a list of at most {MAX_SESSIONS} strings"),
        (token(sessions=None), f"the token's claim sessions is not a list of at most {MAX_SESSIONS} strings"),
        (token(sessions=["a"] * 1001), f"the token's claim sessions is not a list of at most {MAX_SESSIONS} strings"),
        (token(sessions=[7]), "an entry of the token's claim sessions is not 1 to 257 characters"),
        (token(sessions=[""]), "an entry of the token's claim sessions is not 1 to 257 characters"),
        (token(sessions=["a" * 258]), "an entry of the token's claim sessions is not 1 to 257 characters"),
        (token(sessions=["a", "chat/**"]), COVERS_NONE + "it ends in more than one '*'"),
        (token(sessions=["a//b"]), COVERS_NONE + "a session has no empty, '.' or '..' segments"),
        (token(sessions=["../*"]), COVERS_NONE + "a session has no empty, '.' or '..' segments"),
        (token(sessions=["a\n*"]), COVERS_NONE + "a session has no control characters"),
        (token(header={"typ": "logout+jwt"}), "the token's typ is neither JWT nor at+jwt"),
        (token(header={"typ": 7}), "the token's typ is neither JWT nor at+jwt"),
        (token(header={"crit": ["exp"], "exp": 1}), "the token is not a well-formed JWT"),
        (raw_token({"alg": "HS256", "kid": 7}, b"{}"), "the token is not a well-formed JWT"),
        (raw_token({"alg": "none"}, b"{}"), "the token's algorithm is not accepted"),
        (raw_token({"alg": "HS512"}, b"{}"), "the token's algorithm is not accepted"),
        (raw_token({"alg": ["HS256"]}, b"{}"), "the token's algorithm is not accepted"),
        (raw_token({}, b"{}"), "the token's algorithm is not accepted"),
        (raw_token(["alg"], b"{}"), "the token is not a well-formed JWT"),
        ("a" * (MAX_TOKEN_CHARACTERS + 1), f"the token is longer than {MAX_TOKEN_CHARACTERS} characters"),
        ("", "the token is not a well-formed JWT"),
        ("a.b.ü", "the token is not a well-formed JWT"),
        ("a.b.\ud800", "the token is not a well-formed JWT"),
    ],
)
def test_a_bad_token_is_refused_with_its_reason(text: str, expected: str) -> None:
    """Each thing that can be wrong has one sentence, which holds no piece of the token."""
    assert expected == refusal(text)


def test_padded_tokens_are_accepted() -> None:
    """Some load balancers issue tokens whose base64url is padded; PyJWT 2.14 to 2.15.0 refused them."""
    parts = (json.dumps({"alg": "HS256"}).encode(), json.dumps(CLAIMS).encode())
    signed = ".".join(base64.urlsafe_b64encode(part).decode() for part in parts)
    signature = hmac.digest(SECRET.encode(), signed.encode(), "sha256")
    assert verifier().verify(f"{signed}.{base64.urlsafe_b64encode(signature).decode()}").subject == "ada"


def test_deep_json_is_a_malformed_token() -> None:
    """A payload that exhausts the parser's recursion is refused like any other."""
    deep = jwt.PyJWS().encode(b"[" * 3000, SECRET, "HS256")
    assert refusal(deep) == "the token is not a well-formed JWT"


def test_a_refusal_has_no_cause_to_quote() -> None:
    """The library's message, which may quote the header, is not chained to ours."""
    with pytest.raises(InvalidToken) as caught:
        verifier().verify(token(header={"crit": ["tell-tale"]}))
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_typ_may_say_jwt_or_access_token(kind: str) -> None:
    """RFC 9068's type and the plain one are accepted in any case, with or without ``application/``."""
    assert verifier().verify(token(header={"typ": kind})).subject == "ada"


def test_a_token_without_typ_is_accepted() -> None:
    """RFC 7519 makes the header optional."""
    assert verifier().verify(token(header={"typ": None})).subject == "ada"


@pytest.mark.parametrize(
    "claim, expected",
    [({"iss": "them"}, "the token was made by another issuer"), ({}, "the token has no claim iss")],
)
def test_an_issuer_that_is_configured_is_required(claim: dict[str, Any], expected: str) -> None:
    """With an issuer set, a token of another one or of none is refused."""
    assert expected == refusal(token(**claim), issuer="us")


def test_leeway_is_for_the_beginning_only() -> None:
    """A token from a clock that is a little ahead is admitted; one that has ended is not."""
    assert verifier().verify(token(nbf=NOW + 10)).subject == "ada"
    assert refusal(token(exp=NOW - 1)) == "the token has expired"


def test_an_audience_may_be_one_of_several() -> None:
    """``aud`` may be a list (RFC 7519 section 4.1.3)."""
    assert verifier().verify(token(aud=["billing", "tailrace"])).subject == "ada"


def test_sessions_may_be_one_string_or_missing() -> None:
    """One string is one entry; without the claim a good token may read nothing."""
    assert verifier().verify(token(sessions="chat/*")).sessions == ("chat/*",)
    assert verifier().verify(token("sessions")).sessions == ()


@pytest.mark.parametrize(
    "entries, session, expected",
    [
        (("chat/ada",), "chat/ada", True),
        (("chat/ada",), "chat/ada2", False),
        (("chat/*",), "chat/ada", True),
        (("chat/*",), "chat", False),
        (("chat/*", "x"), "x", True),
        (("*",), "anything", True),
        (("c*t",), "cat", False),
        (("c*t",), "c*t", True),
        ((), "chat/ada", False),
    ],
)
def test_may_read(entries: tuple[str, ...], session: str, expected: bool) -> None:
    """An entry is a name, or the beginning of names before a last star; a star elsewhere is a letter."""
    assert expected == Principal("ada", entries, NOW).may_read(session)


def test_a_stream_ends_with_its_token_and_within_a_day() -> None:
    """An ``exp`` that is years away does not make a stream of years."""
    assert Principal("ada", (), NOW + 60).stream_ends_at(NOW) == NOW + 60
    assert Principal("ada", (), NOW + 10**9).stream_ends_at(NOW) == NOW + MAX_STREAM_SECONDS


def test_issued_tokens_verify() -> None:
    """`issue` and `Verifier` agree about every claim."""
    text = issue(
        SECRET, sessions=["a", "b/*"], subject="ada", ttl_seconds=60, audience="tailrace", issuer="us", now=NOW
    )
    assert verifier(issuer="us").verify(text) == Principal("ada", ("a", "b/*"), NOW + 60)


def test_issue_without_issuer_and_with_a_longer_hash() -> None:
    """The issuer may be left out, and the algorithm chosen."""
    text = issue(
        SECRET,
        sessions=[],
        subject="ada",
        ttl_seconds=1,
        audience="tailrace",
        issuer=None,
        now=NOW,
        algorithm="HS512",
    )
    assert verifier(algorithms=["HS512"]).verify(text).expires_at == NOW + 1


@pytest.mark.parametrize(
    "secret, algorithms, expected",
    [
        ("short", (), "the JWT secret must have at least 32 bytes for HS256"),
        (SECRET[:40], ("HS256", "HS512"), "the JWT secret must have at least 64 bytes for HS512"),
        (SECRET, ("RS256",), "RS256 cannot be used with a shared secret, only HS256, HS384, HS512"),
        (SECRET, ("none",), "none cannot be used with a shared secret, only HS256, HS384, HS512"),
        (
            json.dumps({"kty": "oct", "k": SECRET}),
            (),
            "the JWT secret looks like a public key; give that as a file instead",
        ),
    ],
)
def test_a_bad_secret_is_known_at_start(secret: str, algorithms: tuple[str, ...], expected: str) -> None:
    """A secret that is too short, or no secret, never gets as far as a client."""
    with pytest.raises(ConfigurationError) as caught:
        Verifier.from_secret(secret, algorithms=algorithms, audience="tailrace")
    assert [expected] == caught.value.problems


@pytest.mark.parametrize(
    "key, algorithms",
    [(RSA_KEY, ["RS256", "PS256"]), (P256_KEY, ["ES256"]), (P384_KEY, ["ES384"]), (ED_KEY, ["EdDSA"])],
)
def test_the_type_of_a_public_key_pins_the_algorithms(tmp_path: Path, key: Any, algorithms: list[str]) -> None:
    """Every algorithm of the key's type is accepted without being named."""
    verify = from_file(write_public(tmp_path / "key.pem", key)).verify
    assert ["ada" for _ in algorithms] == [verify(jwt.encode(CLAIMS, key, each)).subject for each in algorithms]


def test_a_public_key_is_never_a_secret(tmp_path: Path) -> None:
    """A token signed with the public key's own bytes under HS256 is refused (RFC 8725 section 2.1)."""
    path = write_public(tmp_path / "key.pem", RSA_KEY)
    header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
    with pytest.raises(InvalidToken, match="algorithm is not accepted"):
        from_file(path).verify(f"{header}.e30.c2ln")


def test_longer_rsa_hashes_are_used_when_asked_for(tmp_path: Path) -> None:
    """RS512 is no default, but may be configured; then the defaults are refused."""
    verify = from_file(write_public(tmp_path / "key.pem", RSA_KEY), algorithms=["RS512"]).verify
    assert verify(jwt.encode(CLAIMS, RSA_KEY, "RS512")).subject == "ada"
    with pytest.raises(InvalidToken):
        verify(jwt.encode(CLAIMS, RSA_KEY, "RS256"))


def test_a_certificate_is_a_public_key_too(tmp_path: Path) -> None:
    """A PEM certificate gives its key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, P256_KEY.public_key(), 1, now, now + timedelta(days=1))
    (path := tmp_path / "cert.pem").write_bytes(builder.sign(P256_KEY, hashes.SHA256()).public_bytes(Encoding.PEM))
    assert from_file(path).verify(jwt.encode(CLAIMS, P256_KEY, "ES256")).subject == "ada"


def test_a_key_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """What is wrong with the file is said with its path: missing, no PEM, or an algorithm of another type."""
    (junk := tmp_path / "junk.pem").write_text("junk")
    good = write_public(tmp_path / "key.pem", ED_KEY)
    assert (
        problem(tmp_path / "no") == f"the JWT public key file {tmp_path}/no cannot be read: No such file or directory"
    )
    assert problem(junk) == f"{junk} is not a PEM public key or certificate"
    assert problem(good, algorithms=["HS256"]) == f"HS256 cannot be used with the key in {good}, only EdDSA"


def test_a_private_key_is_refused(tmp_path: Path) -> None:
    """A service that only verifies must not hold what signs."""
    pem = P256_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (path := tmp_path / "key.pem").write_bytes(pem)
    assert problem(path) == f"{path} holds a private key; tailrace needs the public one, and only that"


@pytest.mark.parametrize(
    "key, expected",
    [
        (rsa.generate_private_key(65537, 1024), "has 1024 bits, fewer than 2048"),
        (ec.generate_private_key(ec.SECP256K1()), "is on secp256k1, not P-256, P-384 or P-521"),
        (dsa.generate_private_key(1024), "is not RSA, EC, Ed25519 or Ed448"),
    ],
)
def test_a_key_that_is_too_weak_or_foreign_is_refused(tmp_path: Path, key: Any, expected: str) -> None:
    """Short RSA keys, other curves and other kinds of key are no keys for tokens."""
    assert expected in problem(write_public(tmp_path / "key.pem", key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jku", "zip"]), JSON | st.just("HS256"))
CLAIM_SETS = st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "sub", "aud", "iss", "jti", "sessions"]), JSON)


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*") | st.builds(raw_token, HEADERS, st.binary()))
def test_hostile_texts_are_invalid_tokens(text: str) -> None:
    """Whatever comes in a token's place, the answer is `InvalidToken` and nothing else."""
    with pytest.raises(InvalidToken):
        verifier(issuer="us").verify(text)


@given(CLAIM_SETS)
def test_hostile_claims_are_read_or_refused(claims: dict[str, Any]) -> None:
    """Even with a good signature, claims give a principal with sound fields or `InvalidToken`."""
    signed = jwt.PyJWS().encode(json.dumps({**CLAIMS, **claims}).encode(), SECRET, "HS256")
    try:
        principal = verifier().verify(signed)
    except InvalidToken:
        return
    assert principal.expires_at > NOW
    assert all(isinstance(entry, str) for entry in principal.sessions)
