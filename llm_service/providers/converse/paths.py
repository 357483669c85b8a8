"""Where Bedrock's models are."""

from urllib.parse import quote


def model_path(model: str, operation: str) -> str:
    """The path of a model, whose id may have colons and slashes, as AWS wants it signed."""
    return f"/model/{quote(model, safe='-_.~')}/{operation}"
