"""The Chat Completions dialect, which OpenAI made and many vendors speak."""
