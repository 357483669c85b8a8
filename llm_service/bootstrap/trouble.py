"""Why there is no service."""


class CannotStart(Exception):
    """Why there is no service, in one line for the operator."""
