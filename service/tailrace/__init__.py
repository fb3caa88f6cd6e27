"""tailrace: one Kafka consumer in, every browser out.

The files of this package are the data path. Read them from the bottom of this list to its top; each may import
only from lines below its own (``tests/test_architecture.py`` holds it to that)::

    start          the first thing that runs: signals, before there is anything to end
    cli            commands: serve, dev, token, check, position
    check          what `tailrace check` looks at
    issuing        the token that `tailrace token` prints
    dev/           the embedded broker and the demo producer
    app            the routes over a running service, and errors made into answers
    console/       the live page and its routes
    health         /livez, /readyz, /metrics
    hosts          which names a listener may be asked by
    server/        Hypercorn: settings, listeners, TLS, loop, drain; the hardened protocol classes and their wires
    service        the composition root: what lives as long as the service
    websocket      reader -> frames, and what a client may send
    first_message  WebSockets that owe their token
    sse            reader -> text/event-stream
    admission      a request -> a subscription, or a named refusal
    subscription/  subscribers from admission to farewell, for either transport
    control        the events that the service itself makes, one table
    resume         an id and the tail's shape -> where to start, and what to tell the client; pure
    auth/          token -> principal; may this principal read this session?
    replay/        what lies below the tail's floor: read again, in passes that readers share, fair between subjects
    consumer/      batches in, events appended, sessions woken; warm-up, identity, jumps
    kafka/         the only package that knows aiokafka: fetch, identity; errors renamed at the border
    reader/        one subscriber's place in the tail, and ``flush``
    tail           the bounded newest events of all sessions
    ahead          who waits for this replica to reach their position, by partition
    gaps           where the log was passed over, and why
    view           one session's part of the tail, and who reads it
    timers         one wheel: heartbeats, expiries, send time-outs
    wire           write, writable, abort; the plain-ASGI one
    places         who has to leave where there is no room for a newcomer
    metrics/       every metric, by name; counted above, told to Prometheus
    tracing/       a sampled event's spans: processed, delivered; the only package that knows OpenTelemetry
    encoding       an event written for the wires: SSE text, HTTP/1.1 chunks, WebSocket frames
    event          a record, decoded
    session        which names a session may have
    names          the types of events; texts that repeat, decoded once
    position       parse, format, compare; epochs
    config/        Settings, frozen, from the environment and a TOML file
    log            one line per event, on stderr
    errors         the tree; each with its HTTP status, close code and whether to come back
"""

__version__ = "0.1.0"
