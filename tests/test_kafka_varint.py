"""Kafka's varints, and that one without an end costs nothing, wherever it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw_batches import MIB, body, varint
from tailrace.kafka.counting import headers_in
from tailrace.kafka.varint import MAX_BYTES, signed, unsigned, written


class Read(bytes):
    """Bytes that count how many of them are looked at."""

    looks = 0

    def __getitem__(self, at: int) -> int:  # type: ignore[override]  # never asked for a slice
        self.looks += 1
        return super().__getitem__(at)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_what_was_written_is_read(number: int, before: bytes) -> None:
    """From wherever it stands to its end."""
    raw = before + written(number) + b"\xff"
    assert unsigned(raw, len(before)) == (number, len(raw) - 1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_zigzag(number: int) -> None:
    """Small numbers are short, whatever their sign."""
    raw = varint(number)
    assert signed(raw, 0) == (number, len(raw))


def test_a_number_of_more_than_64_bits() -> None:
    """It is none, and is not read to its end."""
    raw = Read(b"\xff" * MIB)
    with pytest.raises(ValueError, match="too many bytes"):
        unsigned(raw, 0)
    assert raw.looks == MAX_BYTES


@pytest.mark.parametrize("size", range(len(body(0, b"k", b"v"))))
def test_counting_does_not_follow_a_number_without_an_end(size: int) -> None:
    """Whichever of a record's numbers it is: a megabyte of it would take minutes, as it grows with every byte."""
    raw = Read(varint(MIB) + body(0, b"k", b"v")[:size] + b"\xff" * MIB)
    assert headers_in(raw, 0, 1, MIB) is None
    assert raw.looks < 10 * MAX_BYTES


def test_counting_does_not_follow_a_length_without_an_end() -> None:
    """The same for the record's own."""
    raw = Read(b"\xff" * MIB)
    assert headers_in(raw, 0, 1, MIB) is None
    assert raw.looks <= MAX_BYTES + 3
