"""Chat Completions as azure takes it and says it."""

from fakes.chat import functions

check, answer, stream, error = functions("azure")
