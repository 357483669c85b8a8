"""The command `llm-service`: one module per subject, each of which adds its commands to `app`."""

from llm_service.commands import calls, client_keys, local
from llm_service.commands.console import app

__all__ = ["app", "calls", "client_keys", "local"]
