"""Secrets that everybody can guess: published ones, placeholders of documents, and short pieces that are repeated.

Pure; knows no setting. It looks for what people really leave in place. It does not measure strength: no
list could hold all bad secrets, and one that comes from a generator is far from all that is looked for.
"""

from __future__ import annotations

import re

HOW = "make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"

PUBLISHED = frozenset(
    {
        "tailracedevforthismachinesloopbackonly",  # ours, of `tailrace dev`
        "astringsecretatleast256bitslong",  # jwt.io's examples, today's and yesterday's; for HS256 and HS512
        "avalidstringsecretthatisatleast512bitslongwhichisverylong",
        "your256bitsecret",
        "your512bitsecret",
        "changethismercurehubjwtsecretkey",  # from the documents of products like ours
        "thisisasecretkeythatyoushouldchange",
    }
)
"""Whole secrets that stand in documents, `bare`."""

WORDS = (
    *("changethis", "changeme", "change", "replaceme", "replace", "placeholder", "example", "default", "insecure"),
    *("secret", "password", "passphrase", "token", "signing", "tailrace", "jwt", "hmac", "key", "super", "your", "my"),
    *("please", "production", "prod", "this", "for", "now", "not", "use", "never", "must", "be"),
    *("hs256", "hs384", "hs512", "256", "384", "512", "bits", "bit", "bytes", "byte", "qwerty", "letmein", "admin"),
)
"""What placeholders are composed of; a longer word comes before one that it begins with."""

SEPARATORS = "-_.,:;!?/'\""
"""What stands between words, and at their ends, as do spaces."""

SEQUENCES = ("0123456789", "1234567890", "abcdefghijklmnopqrstuvwxyz")
"""What they are padded with, in whole or from the beginning on. One character over and over is padding as well."""

MIN_PIECE_CHARACTERS = 16
"""A secret that repeats a shorter piece is as weak as the piece. 16 characters of a generator have 64 bits or more."""
MAX_PIECE_CHARACTERS = max(map(len, PUBLISHED))
MIN_REST_CHARACTERS = 8
"""What must be left of a secret without words and padding; of a generated one nearly all is."""

_MIN_PADDING = 4
_PADDING = re.compile(
    "|".join([r"(.)\1{3,}", *(each[:size] for each in SEQUENCES for size in range(len(each), _MIN_PADDING - 1, -1))])
)
_WORD = re.compile("|".join(WORDS))


def weakness(secret: str) -> str | None:
    """Return the end of a sentence: what ``secret`` must not be, and how to make a good one. None if it is good."""
    text = bare(secret)
    if not text:
        return f"must not be of spaces and separators alone; {HOW}"
    for each in (secret, text):
        if len(piece(each)) < min(MIN_PIECE_CHARACTERS, len(each)):
            return f"must not be a few characters, or a single one, over and over; {HOW}"
    if piece(text) in PUBLISHED or len(_PADDING.sub("", _WORD.sub("", text))) < MIN_REST_CHARACTERS:
        return f"must not be one that stands in documents, known to everybody; {HOW}"
    return None


def bare(secret: str) -> str:
    """Return what is left without separators, in lower case."""
    return "".join(each for each in secret.casefold() if each not in SEPARATORS and not each.isspace())


def piece(text: str) -> str:
    """Return the shortest beginning that makes the whole ``text`` when it is repeated, the last time perhaps in part.

    One of more than ``MAX_PIECE_CHARACTERS`` is not looked for.
    """
    beginnings = (text[:size] for size in range(1, min(len(text), MAX_PIECE_CHARACTERS + 1)))
    return next((each for each in beginnings if (each * (len(text) // len(each) + 1)).startswith(text)), text)
