"""OpenAI's Responses API, which Azure, xAI and local servers speak too."""
