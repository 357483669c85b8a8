"""What a converter refused."""

from llm_service.errors import InvalidField
from llm_service.rpc.convert.checks import Checks


def refused(checks: Checks) -> dict[str, str]:
    """Why, by field; empty if nothing was refused."""
    try:
        checks.done()
    except InvalidField as error:
        return {violation.field: violation.description for violation in error.violations}
    return {}
