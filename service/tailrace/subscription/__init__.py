"""Subscribers, from admission to farewell, for either transport.

`sse` and `websocket` hand over who asks and a wire; what happens then is decided here::

    everyone     `Subscriptions`: the limits, the ids that are kept young, the drain
    one          `Subscription`: what is said on one wire, when, and how it ends
    pulse        `Pulse`: whether a WebSocket's client is still there
    stall        `Stall`: whether a client that is held up takes anything
"""

from tailrace.subscription.everyone import Subscriptions
from tailrace.subscription.one import Subscription, Terms

__all__ = ["Subscription", "Subscriptions", "Terms"]
