"""What the registry tells of itself: the log and the metrics.

log      configure · logger · access_log · begin_request: one event per line
outlet   patient · retry · finish: nobody waits for whoever reads the log
lines    how an event looks: JSON, logfmt, text
redact   what is never shown
metrics  counter · gauge · histogram · exposition
tallies  the metrics of several processes as one
"""

from moorage.telemetry.lines import visible
from moorage.telemetry.log import AccessLog, access_log, begin_request, configure, logger
from moorage.telemetry.metrics import Counter, Gauge, Histogram, counter, exposition, gauge, histogram
from moorage.telemetry.outlet import finish, patient, retry
from moorage.telemetry.redact import redact, redact_text, redact_url

__all__ = [
    "AccessLog",
    "Counter",
    "Gauge",
    "Histogram",
    "access_log",
    "begin_request",
    "configure",
    "counter",
    "exposition",
    "finish",
    "gauge",
    "histogram",
    "logger",
    "patient",
    "redact",
    "redact_text",
    "redact_url",
    "retry",
    "visible",
]
