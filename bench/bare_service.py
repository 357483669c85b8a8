"""The bare path: the service as it is, but nobody is asked who calls, and nothing is written down.

No ledger, no journal, no rows, no spans, no metrics, no client keys. What is left is the same code
in the same order: the service less this is what accounting, authentication and tracing cost.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from llm_service import bootstrap
from llm_service.__main__ import main
from llm_service.bootstrap import foundation


class Silence:
    """A span, a call, a ledger and a telemetry: whatever it is told, it does nothing."""

    trace_id = "0" * 32
    backlog = active_calls = 0

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def nothing(self, *_told: Any, **_named: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        """Whatever else it is told or asked to watch."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self.nothing

    async def nothing_soon(self, *_told: Any) -> None:
        pass

    open = settled = flush = watch_loop = shutdown = nothing_soon


class Telemetry(Silence):
    """Hands out silence; of a trace it knows only that there is none."""

    _SILENCE = Silence()

    def server_call(self, *_told: Any) -> Silence:
        return self._SILENCE

    def attempt(self, **_named: Any) -> Silence:
        return self._SILENCE

    def trace_id(self) -> str:  # type: ignore[override]
        return Silence.trace_id


@asynccontextmanager
async def no_ledger(*_told: Any) -> AsyncIterator[tuple[Silence, tuple[()]]]:
    await asyncio.sleep(0)
    yield Silence(), ()


if __name__ == "__main__":
    foundation.telemetry_of = lambda _settings: Telemetry()
    bootstrap.ledger_of = no_ledger
    os.environ["LLM_AUTH"] = "open"
    sys.argv = ["llm-service", "serve"]
    sys.exit(main())
