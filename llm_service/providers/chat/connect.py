"""Opening an account with a vendor who takes a key and no settings of its own."""

from llm_service.domain.provider import ProviderKind, SourceType
from llm_service.providers.account import endpoint, fixed_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.egress import Egress
from llm_service.providers.vendor import Inquire, VendorAdapter

NO_SETTINGS = '{"type":"object","properties":{},"additionalProperties":false}'
KEY_SOURCES = (
    SourceType.API_KEY,
    SourceType.ENVIRONMENT_VARIABLE,
    SourceType.SECRET_REFERENCE,
)


def by_key(
    kind: ProviderKind,
    dialect: Dialect,
    account: Account,
    egress: Egress,
    setting_headers: dict[str, str] | None = None,
    inquire: Inquire | None = None,
) -> Adapter:
    """Open the account with a bearer key; raises as `endpoint` and `fixed_headers` do.

    `setting_headers`: the header that carries each setting. `inquire` as of `VendorAdapter`.
    """
    names = setting_headers or {}
    headers = [("authorization", f"Bearer {account.secret}")] if account.secret else []
    headers += [(names[name], value) for name, value in settings(account, [*names]).items()]
    return VendorAdapter(
        ChatApi(dialect),
        endpoint(account, egress, kind.default_base_uri),
        egress,
        fixed_headers(account, kind.kind, headers),
        account.secret,
        inquire,
    )
