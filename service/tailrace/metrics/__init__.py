"""Every metric, by name: counted in plain ints where things happen, put into Prometheus' text only when it is scraped.

The only package that names prometheus_client. Whatever lies above may count; what a gauge shows is handed in as a
callable, so this knows no tail, no Kafka and no connection::

    collecting   `Metrics`: what is counted, where the rest is read, the text; and the event loop's lag
    values       what is kept on the hot path: `Histogram`, `Deliveries`, `Lag`; which timestamps are believed
    table        every metric with its labels and its meaning; the documents are made of it
"""

from tailrace.metrics.collecting import Metrics, Reading, measure_loop_lag
from tailrace.metrics.table import OTHER, TABLE, Metric, markdown
from tailrace.metrics.values import Deliveries, Histogram, Lag, believed_age

__all__ = [
    "OTHER",
    "TABLE",
    "Deliveries",
    "Histogram",
    "Lag",
    "Metric",
    "Metrics",
    "Reading",
    "believed_age",
    "markdown",
    "measure_loop_lag",
]
