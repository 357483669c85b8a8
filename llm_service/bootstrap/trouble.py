"""Why there is no service."""


class CannotStart(Exception):
    """Why there is no service, in one line for the operator."""


class DatabaseAway(CannotStart):
    """The database does not answer; a snapshot may do in its place."""
