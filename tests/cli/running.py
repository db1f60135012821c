"""Running the command as people do."""

import os
import subprocess
import sys


def environment(**environ):
    """This process's environment, with no settings but these."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")} | environ


def moorage(*arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "moorage", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=environment(**environ),
        timeout=100,
    )
