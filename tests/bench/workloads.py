"""What the bench measures, in the order of its table: a name for the command line, and who reads what how fast."""

from __future__ import annotations

from bench.measuring import Workload

LARGE_TAIL = "512MiB"
"""Holds a hundred thousand sessions and what is produced meanwhile."""

WORKLOADS = {
    "idle-sse": Workload("sse", 5000, idle=True),
    "idle-websocket": Workload("websocket", 5000, idle=True),
    "slow": Workload("sse", 1000, rate=100),
    "brisk": Workload("sse", 1000, rate=2_000),
    "sse": Workload("sse", 1000, rate=10_000),
    "websocket": Workload("websocket", 1000, rate=10_000),
    "sse-bursts": Workload("sse", 1000, rate=10_000, burst=10),
    "websocket-bursts": Workload("websocket", 1000, rate=10_000, burst=10),
    "many-sse": Workload("sse", 10, 100, rate=200),
    "many-websocket": Workload("websocket", 10, 100, rate=200),
    "5000-sse": Workload("sse", 5000, rate=10_000),
    "5000-websocket": Workload("websocket", 5000, rate=10_000),
    "http2": Workload("h2", 1000, rate=10_000, connections=10),
    "fifth": Workload("sse", 1000, rate=20_000),
    "others-few": Workload("sse", 1000, rate=10_000, others=1_000, tail_max_bytes=LARGE_TAIL),
    "others-many": Workload("sse", 1000, rate=10_000, others=100_000, tail_max_bytes=LARGE_TAIL),
    "most-sse": Workload("sse", 1000),
    "most-websocket": Workload("websocket", 1000),
    "most-many-sse": Workload("sse", 10, 100),
    "most-many-websocket": Workload("websocket", 10, 100),
    "most-http2": Workload("h2", 1000, connections=10),
}
