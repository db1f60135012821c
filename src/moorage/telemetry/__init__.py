"""Log and metric: what the registry tells of itself."""

from moorage.telemetry.log import access_log, configure, logger

__all__ = ["access_log", "configure", "logger"]
