"""Chat Completions as a compatible server takes it and says it."""

from fakes.chat import functions

check, answer, stream, error = functions("openai-compatible")
