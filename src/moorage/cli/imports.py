"""The collector of garbage, which `main` holds still while modules are imported."""

import gc


def keep_imports() -> None:
    """Go on with it.  What was imported stays for good, so it need never look at that."""
    gc.freeze()
    gc.enable()
