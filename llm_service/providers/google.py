"""Google: the Gemini API by a key, or Vertex AI by a service account."""

import re

from llm_service import errors
from llm_service.domain.provider import CancelPolicy, ProviderKind, SourceType
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.egress import Egress
from llm_service.providers.gemini.api import GeminiApi
from llm_service.providers.gemini.door import Door
from llm_service.providers.vendor import Authenticator, VendorAdapter

KIND = ProviderKind(
    kind="google",
    display_name="Google Gemini",
    default_base_uri="https://generativelanguage.googleapis.com/v1beta",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"project":{"type":"string","pattern":"^[a-z0-9][a-z0-9.:-]{0,62}$","description":'
        '"Id of the Google Cloud project: use Vertex AI. A service account names its own."},'
        '"location":{"type":"string","pattern":"^[a-z][a-z0-9-]{0,31}$","description":'
        '"Region of Vertex AI, e.g. europe-west4. Default: global."}'
        '},"additionalProperties":false}'
    ),
    credential_source_types=(
        SourceType.API_KEY,
        SourceType.SERVICE_ACCOUNT_JSON,
        SourceType.ENVIRONMENT_VARIABLE,
        SourceType.SECRET_REFERENCE,
    ),
    discovers_models=True,
    telemetry_name="gcp.gemini",
    cancel_policy=CancelPolicy.DRAIN,
    address_settings=("project", "location"),
)

_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}")
_LOCATION = re.compile(r"[a-z][a-z0-9-]{0,31}")
_MULTI_REGIONS = frozenset({"eu", "us"})


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with Google; Vertex AI's if it has a project or is a service account.

    Raises:
        InvalidField: a setting is malformed, or Vertex AI's project is missing.
        ProviderCredentialRejected: the secret is not what it is said to be.
        EgressDenied: the address is not one this service may dial.
    """
    given = settings(account, ["project", "location"])
    authenticator, project = _authenticator(account, egress, given.get("project", ""))
    door = _door(project, given.get("location", ""))
    where = endpoint(account, egress, _base_uri(door))
    return VendorAdapter(GeminiApi(door, where), where, egress, authenticator, account.secret)


def _authenticator(account: Account, egress: Egress, project: str) -> tuple[Authenticator, str]:
    """Who calls, and the project: the one given, else the service account's own."""
    is_file = account.source is SourceType.SERVICE_ACCOUNT_JSON or _is_object(account.secret)
    if not account.secret or not is_file:
        return key_headers(account, KIND.kind, "x-goog-api-key"), project
    # Only Vertex AI needs it, and it reads keys by a library that others do without.
    from llm_service.providers import google_token

    file = google_token.read_file(account.secret)
    if not (project or file.project_id):
        raise errors.InvalidField(
            errors.Violation("provider.settings.project", "is needed by a service account")
        )
    return google_token.ServiceAccount(file, egress), project or file.project_id


def _is_object(secret: str) -> bool:
    return secret.lstrip().startswith("{")


def _door(project: str, location: str) -> Door:
    for name, said, pattern in (
        ("project", project, _PROJECT),
        ("location", location, _LOCATION),
    ):
        if said and not pattern.fullmatch(said):
            raise errors.InvalidField(errors.Violation(f"provider.settings.{name}", "is malformed"))
    if location and not project:
        raise errors.InvalidField(
            errors.Violation("provider.settings.project", "is needed with a location")
        )
    return Door(project, location or "global") if project else Door()


def _base_uri(door: Door) -> str:
    if not door.is_vertex:
        return KIND.default_base_uri
    if door.location == "global":
        return "https://aiplatform.googleapis.com/v1"
    if door.location in _MULTI_REGIONS:
        return f"https://aiplatform.{door.location}.rep.googleapis.com/v1"
    return f"https://{door.location}-aiplatform.googleapis.com/v1"
