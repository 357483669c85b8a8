"""What the kinds check of an account before they open it."""

import re
from collections.abc import Sequence

from llm_service import errors
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress, Endpoint
from llm_service.providers.vendor import FixedHeaders, Headers

_PRINTABLE = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")


def endpoint(account: Account, egress: Egress, default_base_uri: str) -> Endpoint:
    """Where the account's calls go.

    Raises:
        InvalidField: there is no address, or it is malformed.
        EgressDenied: the address is not one this service may dial.
    """
    base_uri = account.base_uri or default_base_uri
    if not base_uri:
        raise errors.InvalidField(errors.Violation("provider.base_uri", "is needed by this kind"))
    try:
        return egress.endpoint(base_uri)
    except ValueError as error:
        raise errors.InvalidField(errors.Violation("provider.base_uri", str(error))) from error


def key_headers(
    account: Account, kind: str, name: str, prefix: str = "", *, needed: bool = True
) -> FixedHeaders:
    """Authentication by the account's key in the header `name`; see `fixed_headers`."""
    headers = [(name, prefix + account.secret)] if account.secret else []
    return fixed_headers(account, kind, headers, needed=needed)


def fixed_headers(
    account: Account, kind: str, headers: Headers, *, needed: bool = True
) -> FixedHeaders:
    """Authentication by headers that never change.

    Args:
        account: whose secret is in the headers.
        kind: named to a caller whose call needs a secret that is not there.
        headers: all that the account adds to a request.
        needed: a call without a credential is refused before dialling.

    Raises:
        InvalidField: a header holds what no header may.
        ProviderCredentialRejected: the secret cannot be sent at all.
    """
    if account.secret and not _PRINTABLE.fullmatch(account.secret):
        raise errors.ProviderCredentialRejected("the stored credential is not printable ASCII")
    for name, value in headers:
        if not _PRINTABLE.fullmatch(value):
            raise errors.InvalidField(
                errors.Violation("provider.settings", f"{name} must be printable ASCII")
            )
    missing = f"no credential is configured for this {kind} provider"
    return FixedHeaders(headers, missing if needed and not account.secret else "")


def settings(account: Account, known: Sequence[str]) -> dict[str, str]:
    """The account's settings that are not empty.

    Raises:
        InvalidField: names every setting that is not `known`.
    """
    strangers = [
        errors.Violation(f"provider.settings.{name}", "is not a setting of this kind")
        for name in account.settings
        if name not in known
    ]
    if strangers:
        raise errors.InvalidField(*strangers)
    return {name: value for name, value in account.settings.items() if value}
