"""The entry point of the `moorage` command: imports nothing until it runs."""

import gc
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
        from moorage.cli.told import told

        sys.exit(f"moorage: {told(error)}")
