"""A crowd of honest clients that check what they are given; for harnesses that do bad things to the service.

From the bottom up; each imports only from lines above its own::

    ids          event ids, read by somebody who is not the service
    history      what was really produced, and what was done to the logs: the facts
    ledger       what one client was given, in order, with its connections
    faults       what can be wrong
    turns        what may come when, on one connection
    standing     where one client stands in every log
    course       one client's ledger, judged as it grows
    judge        all ledgers against the history: a sentence for everything that should not be
    producing    producers that number what they say, and write down where it came to lie
    eventstream  bytes -> items, as EventSource reads them
    frames       bytes -> items, as a page with a WebSocket reads them
    asking       one request, and whom to tell of what comes of it
    http1        a connection each
    http2        a stream each, many to a connection
    client       one client: subscribes, keeps its last id, comes back

A harness makes one `History`, one `Judge` over it, a `Source` per topic that feeds the history, and clients, each with
a ledger that ``Judge.follow`` gave. It says to the history what it is about to do to the logs (`History.shortened`,
``damaged``, ``cut_off``, ``remade``) *before* it does it, because only then can a reset that comes at once be known to
be a right one. The judge looks at everything as soon as all producers have learned what became of what was under way,
and forgets what nobody lacks any more, so that a run of hours needs no more memory than one of minutes.
"""
