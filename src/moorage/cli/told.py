"""A failure, told to whoever sits at a terminal or reads the log."""

import os
import sys

from moorage.errors import RegistryError
from moorage.telemetry import redact_text, visible


def told(error: Exception) -> str:
    """What went wrong, as a line for a terminal."""
    settings = sys.modules.get("moorage.settings")
    if settings is not None and isinstance(error, settings.SettingsError):
        return "\n".join(visible(line) for line in str(error).split("\n"))
    if isinstance(error, RegistryError):
        return visible(error.message)
    if isinstance(error, OSError) and error.strerror:
        return visible(": ".join(str(part) for part in (error.strerror, error.filename) if part))
    if os.environ.get("REGISTRY_LOG_LEVEL") == "debug":
        raise error
    words = redact_text(" ".join(f"{type(error).__name__}: {error}".split()))
    return visible(f"this is a fault of the program: {words} (REGISTRY_LOG_LEVEL=debug shows where)")
