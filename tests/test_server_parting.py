"""Streams that are seen off, between two halves of h2 and without a network."""

from __future__ import annotations

from collections.abc import Sequence

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes

from changes import settled
from tailrace.server.inbox import Inbox
from tailrace.server.parting import Parting
from tailrace.server.sending import Sender
from test_server_wires import Carrier

CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
WINDOW = 65535


class Pair:
    """A server's connection with one WebSocket on it, and its client; time-outs are over in the loop's next turn."""

    def __init__(self) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.server.local_settings.enable_connect_protocol = 1
        self.carrier = Carrier()
        self.sender = Sender(self.server, self.carrier, lambda: None)
        self.parting = Parting(self.server, self.sender, seconds=0)
        for side in (self.client, self.server):
            side.initiate_connection()
        self.exchange()
        self.client.send_headers(1, CONNECT)
        self.wire = self.sender.open(1, Inbox(), websocket=True)
        self.exchange()
        self.server.send_headers(1, [(":status", "200")])
        self.exchange()

    def exchange(self) -> Sequence[h2.events.Event]:
        """Carry everything there and back; give what the client hears."""
        self.server.receive_data(self.client.data_to_send())
        self.sender.write_out()
        written, self.carrier.written = self.carrier.written, []
        return self.client.receive_data(b"".join(written))

    def resets(self) -> list[int]:
        """Give the codes of the resets that the client hears."""
        return [int(each.error_code or 0) for each in self.exchange() if isinstance(each, h2.events.StreamReset)]

    async def say_last(self, size: int = 4) -> None:
        """Say that many bytes and the end, and begin to see the stream off."""
        self.wire.write(b"x" * size)
        self.sender.complete(1)
        await settled(lambda: not self.sender._marked)
        self.parting.begin(1)


async def test_a_peer_that_never_ends_its_side_is_reset() -> None:
    """Else its stream counts as open for ever."""
    pair = Pair()
    await pair.say_last()
    await settled(lambda: len(pair.parting) == 0)
    assert [ErrorCodes.CANCEL] == pair.resets()


async def test_a_peer_that_ends_its_side_is_left_alone() -> None:
    """Both have said their last."""
    pair = Pair()
    await pair.say_last()
    pair.exchange()
    pair.client.send_data(1, b"", end_stream=True)
    pair.exchange()
    await settled(lambda: len(pair.parting) == 0)
    assert [] == pair.resets()


async def test_a_peer_that_lets_nothing_out_is_reset() -> None:
    """What it was owed is forgotten."""
    pair = Pair()
    await pair.say_last(WINDOW + 1)
    await settled(lambda: len(pair.parting) == 0)
    assert ([ErrorCodes.CANCEL], 0) == (pair.resets(), len(pair.sender))


async def test_a_peer_that_takes_something_is_given_time() -> None:
    """As long as less is left each time that it is looked at."""
    pair = Pair()
    await pair.say_last(WINDOW + 100)
    [timer] = pair.parting._timers.values()
    pair.client.increment_flow_control_window(10)
    pair.client.increment_flow_control_window(10, 1)
    pair.exchange()
    pair.sender.window_opened(1)
    await settled(lambda: timer not in pair.parting._timers.values())
    assert len(pair.parting) == 1
    await settled(lambda: len(pair.parting) == 0)
    assert [ErrorCodes.CANCEL] == pair.resets()


async def test_no_timer_outlives_the_connection() -> None:
    """Or it would keep all of it in memory."""
    pair = Pair()
    await pair.say_last()
    [timer] = pair.parting._timers.values()
    pair.parting.gone()
    assert (True, 0) == (timer.cancelled(), len(pair.parting))
