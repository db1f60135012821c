"""How long tests of random cases go on: for a while in every run, for some CPU hours under `make soak`."""

import os

_SOAK = os.environ.get("MOORAGE_SOAK") == "1"


def longer(usual: int) -> int:
    """How many cases, or seconds that they may take, where `usual` are enough for every run."""
    return 25 * usual if _SOAK else usual
