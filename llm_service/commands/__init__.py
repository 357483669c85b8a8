"""The command `llm-service`: one module per subject, each of which adds its commands to `app`."""

from llm_service.commands import audit, calls, client_keys, imports, keys, local, usage
from llm_service.commands.console import app

__all__ = ["app", "audit", "calls", "client_keys", "imports", "keys", "local", "usage"]
