"""A registry whose background work ends as soon as there is a certain file, which it takes away.

python -m tests.workers.faulty FILE serve …
"""

import asyncio
import sys
from pathlib import Path

from moorage import app


def main() -> None:
    fault = Path(sys.argv.pop(1))

    async def run_jobs(*_: object, **__: object) -> None:
        while not fault.exists():
            await asyncio.sleep(0.05)
        fault.unlink()
        raise RuntimeError("nobody expected this")

    app.run_jobs = run_jobs
    from moorage.cli.main import run

    run()


if __name__ == "__main__":
    main()
