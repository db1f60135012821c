"""Both event loops: uvloop, as in production, and asyncio's own."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, object]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
