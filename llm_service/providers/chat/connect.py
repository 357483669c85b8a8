"""What the kinds that speak Chat Completions need to open an account."""

import re
from collections.abc import Sequence

from llm_service import errors
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat.adapter import ChatAdapter
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.egress import Egress

_PRINTABLE = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")


def open_account(
    dialect: Dialect,
    account: Account,
    egress: Egress,
    default_base_uri: str,
    headers: Sequence[tuple[str, str]],
) -> Adapter:
    """An adapter for the account; `headers` are the account's own.

    Raises:
        InvalidField: there is no address, it is malformed, or a header holds what no header may.
        EgressDenied: the address is not one this service may dial.
        ProviderCredentialRejected: the secret cannot be sent at all.
    """
    base_uri = account.base_uri or default_base_uri
    if not base_uri:
        raise errors.InvalidField(errors.Violation("provider.base_uri", "is needed by this kind"))
    if account.secret and not _PRINTABLE.fullmatch(account.secret):
        raise errors.ProviderCredentialRejected("the stored credential is not printable ASCII")
    for name, value in headers:
        if not _PRINTABLE.fullmatch(value):
            raise errors.InvalidField(
                errors.Violation("provider.settings", f"{name} must be printable ASCII")
            )
    try:
        endpoint = egress.endpoint(base_uri)
    except ValueError as error:
        raise errors.InvalidField(errors.Violation("provider.base_uri", str(error))) from error
    return ChatAdapter(dialect, endpoint, egress, account, headers)


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
