"""Bytes -> items, as a page with a WebSocket reads them; the frames are wsproto's."""

from __future__ import annotations

import orjson
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from crowd.ledger import Item


class Frames:
    """One open WebSocket, over whatever carries its bytes.

    ``retry_ms`` is how long the service has asked to wait before coming back; ``close_code`` is the one that came.
    """

    def __init__(self) -> None:
        self._connection = Connection(ConnectionType.CLIENT)
        self._text: list[str] = []
        self._reply = b""
        self.retry_ms: int | None = None
        self.close_code: int | None = None

    def feed(self, data: bytes) -> list[Item]:
        """Take what arrived; gives what it completes."""
        self._connection.receive_data(data)
        items = []
        for event in self._connection.events():
            if isinstance(event, TextMessage):
                self._text.append(event.data)
                if event.message_finished:
                    items.append(self._item("".join(self._text)))
                    self._text.clear()
            elif isinstance(event, BytesMessage):
                raise RemoteProtocolError("the service sent bytes")
            elif isinstance(event, Ping):
                self.say(event.response())
            elif isinstance(event, CloseConnection):
                if self._connection.state is ConnectionState.OPEN:  # how wsproto says that a frame is none
                    raise RemoteProtocolError(f"{event.reason}")
                self.close_code = event.code
                self.say(event.response())
        return items

    def say(self, event: Event) -> None:
        """Have a frame sent, unless the close has been said."""
        try:
            self._reply += self._connection.send(event)
        except LocalProtocolError:
            return

    def reply(self) -> bytes:
        """Give what has to be sent back by now."""
        reply, self._reply = self._reply, b""
        return reply

    def _item(self, text: str) -> Item:
        content = orjson.loads(text)
        if "control" in content:
            self.retry_ms = content.get("retry_after_ms", self.retry_ms)
            return Item(content["control"], text, content.get("id", ""))
        return Item(content.get("event", "message"), content["data"], content["id"])
