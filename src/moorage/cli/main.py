"""The entry point of the `moorage` command: imports nothing until it runs."""

import gc
import os
import sys


def run() -> None:
    """The entry point: whatever goes wrong is told in a line, never as a traceback."""
    # Importing makes hundreds of thousands of objects and no garbage; looking for it costs a fifth of the time.
    gc.disable()
    try:
        if sys.argv[1:2] == ["serve"] and "--help" not in sys.argv:
            from moorage.cli.start import start

            start()
        else:
            from moorage.cli.commands import app

            app(prog_name="moorage")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last place where it can be told
        sys.exit(f"moorage: {told(error)}")


def told(error: Exception) -> str:
    """What went wrong, as a line for a terminal."""
    from moorage.errors import RegistryError
    from moorage.telemetry import redact_text, visible

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
