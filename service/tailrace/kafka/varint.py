"""Kafka's varints: seven bits a byte, the lowest first; the highest bit of a byte says that another follows.

Pure. Source: KIP-98 for those of records, which are signed, and KIP-482 for those of the protocol, which are not.
"""

from __future__ import annotations

Raw = bytes | memoryview

MORE = 0x80
"""Set in each byte but the last."""
MAX_BYTES = 10
"""Of the longest number, which has 64 bits."""


def unsigned(raw: Raw, at: int) -> tuple[int, int]:
    """Return the number at an offset, and the offset after it.

    Raises IndexError where it does not end, ValueError where it is longer than 64 bits are.
    """
    number = raw[at]
    at += 1
    if number >= MORE:
        number, shift = number & 0x7F, 7
        while (more := raw[at]) >= MORE:
            number |= (more & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if shift >= 7 * MAX_BYTES:
                raise ValueError("a number has too many bytes")
        number |= more << shift
        at += 1
    return number, at


def signed(raw: Raw, at: int) -> tuple[int, int]:
    """Return a number in zigzag form, and the offset after it. Raises as `unsigned` does."""
    number, at = unsigned(raw, at)
    return (number >> 1) ^ -(number & 1), at


def written(number: int) -> bytes:
    """Return the bytes of an unsigned number."""
    left = bytearray()
    while number >= MORE:
        left.append(number & 0x7F | MORE)
        number >>= 7
    left.append(number)
    return bytes(left)
