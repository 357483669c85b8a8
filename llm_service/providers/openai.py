"""OpenAI, by Responses or by Chat Completions, as each model takes it."""

from llm_service.domain.provider import ProviderKind, SourceType
from llm_service.providers.account import endpoint, fixed_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.chat.dialect import Dialect, EmbeddingRules
from llm_service.providers.egress import Egress
from llm_service.providers.responses import choice, dialect
from llm_service.providers.responses.api import ResponsesApi
from llm_service.providers.vendor import VendorAdapter

KIND = ProviderKind(
    kind="openai",
    display_name="OpenAI",
    default_base_uri="https://api.openai.com/v1",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"organization":{"type":"string","description":"Id of the organization to bill."},'
        '"project":{"type":"string","description":"Id of the project to bill."},'
        + choice.SETTING
        + '},"additionalProperties":false}'
    ),
    credential_source_types=(
        SourceType.API_KEY,
        SourceType.ENVIRONMENT_VARIABLE,
        SourceType.SECRET_REFERENCE,
    ),
    discovers_models=True,
    telemetry_name="openai",
)

_DIALECT = Dialect(
    kind=KIND.kind,
    max_tokens_field="max_completion_tokens",
    allowed_tools=True,
    # "Create embeddings" of the API's reference.
    embeddings=EmbeddingRules(max_inputs=2048, max_tokens=300_000, base64=True),
)
_RESPONSES = dialect.Dialect(kind=KIND.kind)
_HEADERS = {"organization": "openai-organization", "project": "openai-project"}


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with OpenAI; raises as `endpoint`, `fixed_headers` and `choice.wanted` do."""
    said = settings(account, [*_HEADERS, "api"])
    headers = [("authorization", f"Bearer {account.secret}")] if account.secret else []
    headers += [(name, said[setting]) for setting, name in _HEADERS.items() if setting in said]
    api = choice.EitherApi(
        KIND.kind, ChatApi(_DIALECT), ResponsesApi(_RESPONSES), choice.wanted(said)
    )
    return VendorAdapter(
        api,
        endpoint(account, egress, KIND.default_base_uri),
        egress,
        fixed_headers(account, KIND.kind, headers),
        account.secret,
    )
