"""Ollama's own API, which carries more than its Chat Completions does."""
