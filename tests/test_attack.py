"""The attacks' own arithmetic: what was seen becomes figures, figures break bounds; what is sent is sound."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hpack import Decoder

from attack.batches import GZIP, NO_CODEC, ZSTD, batch, of_zeros, record, with_empty_headers
from attack.honest import NEWCOMERS
from attack.measuring import (
    Bounds,
    Cost,
    Found,
    Newcomers,
    Phase,
    Seen,
    Sent,
    Spread,
    ages,
    broken,
    growth,
    newcomers,
    within,
)
from attack.report import COLUMNS, head, line, notes
from attack.strangers import LONGEST_ID, request
from attack.table import ATTACKS

QUICK = Spread(100, 2.0, 5.0, 6.0)
FOUND = Found(
    sent=Sent(30, 600, 8400, {"answered": 600}),
    cost=Cost(64.0, 80.0, 70.0, 20.0, 0.0),
    before=QUICK,
    during=QUICK,
    after=QUICK,
    livez=QUICK,
    newcomers_before=Newcomers(8, 8, QUICK, {}),
    newcomers=Newcomers(24, 24, QUICK, {}),
    limits={"sockets": 3.0},
    counted={},
    own_lateness=QUICK,
    cuts=0,
    resets=0,
    lost=0,
    repeated=0,
)
SEEN = Seen(
    ended=20.0,
    events=[(0.5, 0.502), (10.0, 15.0), (19.0, None)],
    newcomers=[(1.0, 3.0, ""), (11.0, 4.0, ""), (12.0, 9.0, "closed"), (13.0, 8.0, "closed")],
    probes=[(1.0, 2.0), (11.0, 700.0)],
    late=[],
    cuts=0,
    resets=0,
    lost=0,
    repeated=0,
)
DURING = Phase(10.0, 20.0)


# What was seen.


def test_spread() -> None:
    """Percentiles are durations that were measured; nothing measured is nothing."""
    assert Spread(100, 51.0, 100.0, 100.0) == Spread.of(range(100, 0, -1))
    assert Spread() == Spread.of([])


def test_an_event_counts_when_it_was_sent() -> None:
    """Whenever it came; one that never came has taken until the end."""
    assert [5000.0, 1000.0] == ages(SEEN, DURING)


def test_newcomers_count_when_they_asked() -> None:
    """How many were admitted, how fast, and why the others were not."""
    assert Newcomers(3, 1, Spread(1, 4.0, 4.0, 4.0), {"closed": 2}) == newcomers(SEEN, DURING)


def test_probes_of_a_phase() -> None:
    """What was asked before the attack is not counted."""
    assert Spread(1, 700.0, 700.0, 700.0) == within(SEEN.probes, DURING)


def test_growth_of_counters() -> None:
    """Limits by limit, others by name and label; what did not grow, gauges and other programs' numbers are left out."""
    before = 'tailrace_server_limits_total{limit="sockets"} 2.0\ntailrace_kafka_records_total 5.0\n'
    after = (
        'tailrace_server_limits_total{limit="sockets"} 9.0\ntailrace_kafka_records_total 5.0\ntailrace_ready 1.0\n'
        'tailrace_refusals_total{reason="not_ready"} 4.0\nprocess_cpu_seconds_total 3.0\n'
    )
    assert ({"sockets": 7.0}, {"tailrace_refusals_total{not_ready}": 4.0}) == growth(before, after)


# Bounds.


def test_nothing_is_broken() -> None:
    """An attack that was held gives no sentence."""
    assert [] == broken(FOUND, Bounds(newcomers_slowdown=2.0, cpu_percent=30.0, counted={"x": 1.0}))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"died": True}, "the service's process ended"),
        ({"during": replace(QUICK, p99=51.0)}, "victim's p99 51 ms, above 50"),
        ({"livez": replace(QUICK, most=5000.0)}, "/livez took 5000 ms, above 100"),
        ({"cost": replace(FOUND.cost, rss_peak=996.0)}, "memory grew by 932 MiB, above 96"),
        ({"cost": replace(FOUND.cost, rss_after=200.0)}, "136 MiB of memory stayed, above 64"),
        ({"cost": replace(FOUND.cost, cpu=88.0)}, "88 % of a core, above 30"),
        (
            {"newcomers": Newcomers(24, 22, QUICK, {"closed": 2})},
            "2 of 24 honest newcomers did not get in (2 closed)",
        ),
        ({"newcomers": Newcomers(24, 24, replace(QUICK, p50=4.5), {})}, "newcomers' median 4.5 ms, above 2 times 2"),
        ({"newcomers": Newcomers(24, 24, replace(QUICK, p99=2000.0), {})}, "newcomers' p99 2000 ms, above 1000"),
        ({"cuts": 1}, "the victim was cut: 1"),
        ({"lost": 2}, "the victim was not given events: 2"),
        ({"repeated": 3}, "the victim was given events twice: 3"),
        ({"resets": 1}, "the victim was told of a gap: 1, above 0"),
        ({"counted": {"x": -2.0}}, "x grew by -2, above 1"),
    ],
)
def test_a_bound_that_is_broken(changes: dict[str, Any], words: str) -> None:
    """Each bound has a sentence of its own, with the figure and the bound."""
    bounds = Bounds(newcomers_slowdown=2.0, cpu_percent=30.0, counted={"x": 1.0})
    assert [words] == broken(replace(FOUND, **changes), bounds)


def test_rows_fit_the_head() -> None:
    """Each row of the table has a cell for each column, and says whether the attack was held."""
    written = line("silent", FOUND, Bounds())
    assert {len(COLUMNS) + 1} == {each.count("|") for each in [*head().splitlines(), written]}
    assert written.endswith("| sockets 3 | held |")


def test_notes_leave_ordinary_work_out() -> None:
    """Refusals and the like are told, events that were delivered are not."""
    counted = {"tailrace_refusals_total{not_ready}": 4.0, "tailrace_delivered_events_total{sse}": 100.0}
    written = notes("who they are", replace(FOUND, counted=counted))
    assert "  who they are\n  answered: answered 600\n  counted: tailrace_refusals_total{not_ready} 4" == written


# What is sent.


@pytest.mark.parametrize("codec", [NO_CODEC, GZIP, ZSTD])
def test_batches_are_sound(codec: int) -> None:
    """A batch made by hand has a good checksum, and gives its records, to a library that reads it."""
    made = batch([record(0, b"a", b"1"), record(1, b"b", None, [(b"h", b"x")])], 2, codec=codec, at_ms=7)
    found = DefaultRecordBatch(made)
    assert found.validate_crc()
    assert [(b"a", b"1", [], 7), (b"b", None, [("h", b"x")], 7)] == [
        (each.key, each.value, each.headers, each.timestamp) for each in found
    ]


def test_bombs_are_sound() -> None:
    """A few bytes hold a value of zeros, or headers without a name and a value, as many as were asked for."""
    [zeros] = DefaultRecordBatch(batch(of_zeros(b"k", 3_000_000), 1, codec=ZSTD))
    [headers] = DefaultRecordBatch(batch([with_empty_headers(0, b"k", 1000)], 1, codec=ZSTD))
    assert (bytes(3_000_000), [("", None)] * 1000) == (zeros.value, headers.headers)


def test_a_request_by_reference() -> None:
    """What is said again is a byte a field, and means what was said first: the whole id fits the decoder's table."""
    first, again = request("/v1/sessions/x/events", (b"last-event-id", LONGEST_ID))
    decoder = Decoder()
    assert decoder.decode(first) == decoder.decode(again) == decoder.decode(again)
    assert (5, 3891) == (len(again), len(LONGEST_ID))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_can_be_run(name: str) -> None:
    """Each row of the table names what exists: arguments, and the way in which honest clients come."""
    attack = ATTACKS[name]
    run = attack.run if isinstance(attack.run, partial) else partial(attack.run)
    inspect.signature(run.func).bind(None, *run.args, **run.keywords)
    assert attack.newcomer in NEWCOMERS
