"""Amazon Bedrock, by its Converse API."""

import re

from llm_service import errors
from llm_service.domain.provider import CancelPolicy, ProviderKind, SourceType
from llm_service.providers import aws
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.converse.api import ConverseApi
from llm_service.providers.egress import Egress, Endpoint
from llm_service.providers.vendor import Authenticator, VendorAdapter

KIND = ProviderKind(
    kind="bedrock",
    display_name="Amazon Bedrock",
    default_base_uri="",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"region":{"type":"string","pattern":"^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$","description":'
        '"AWS region to call and to sign for, e.g. eu-central-1. Needed without a base_uri; '
        'with one, the default is the region in its host name, else us-east-1."}'
        '},"additionalProperties":false}'
    ),
    credential_source_types=(
        SourceType.API_KEY,
        SourceType.AWS_KEY,
        SourceType.ENVIRONMENT_VARIABLE,
        SourceType.SECRET_REFERENCE,
        SourceType.WORKLOAD_IDENTITY,
    ),
    discovers_models=True,
    telemetry_name="aws.bedrock",
    cancel_policy=CancelPolicy.DRAIN,
    address_settings=("region",),
)

_SERVICE = "bedrock"
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")
_RUNTIME_HOST = re.compile(
    r"(?P<before>.*\.)?bedrock-runtime(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\.(?P<after>.+)"
)
_AWS = re.compile(r"amazonaws\.com(\.cn)?|api\.aws")
_ANY_REGION = "us-east-1"
_CHINA = "cn-"


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with Bedrock.

    Raises:
        InvalidField: there is neither a region nor an address, or one of them is malformed.
        EgressDenied: the address is not one this service may dial.
        ProviderCredentialRejected: the stored credential cannot be sent at all.
    """
    region = settings(account, ["region"]).get("region", "")
    if region and not _REGION.fullmatch(region):
        raise _wrong_region("is no name of an AWS region")
    if not region and not account.base_uri:
        raise _wrong_region("is needed by this kind")
    where = endpoint(account, egress, f"https://bedrock-runtime.{region}.{_domain(region)}")
    runtime = _RUNTIME_HOST.fullmatch(where.host)
    region = region or (runtime["region"] if runtime else _ANY_REGION)
    authenticator, secret = _authenticator(account, region)
    api = ConverseApi(KIND.kind, _control(where, runtime, egress))
    return VendorAdapter(api, where, egress, authenticator, secret, api.inquiry)


def _authenticator(account: Account, region: str) -> tuple[Authenticator, str]:
    """Who calls, and the secret that must not come back: a Bedrock API key goes as it is."""
    if account.source is SourceType.WORKLOAD_IDENTITY:
        return aws.Signer(aws.DefaultChain(), _SERVICE, region), ""
    if account.source is SourceType.AWS_KEY or account.secret.lstrip().startswith("{"):
        key = aws.read_key(account.secret)
        return aws.Signer(aws.FixedKey(key), _SERVICE, region), key.secret_access_key
    return key_headers(account, KIND.kind, "authorization", "Bearer "), account.secret


def _control(where: Endpoint, runtime: re.Match[str] | None, egress: Egress) -> Endpoint | None:
    """Where models are listed: beside where they are called, if that is one of AWS's hosts."""
    if runtime is None or runtime["before"] or not _AWS.fullmatch(runtime["after"]):
        return None
    host = f"bedrock{runtime['fips'] or ''}.{runtime['region']}.{runtime['after']}"
    return egress.endpoint(f"{where.scheme}://{host}:{where.port}")


def _domain(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith(_CHINA) else "amazonaws.com"


def _wrong_region(why: str) -> errors.InvalidField:
    return errors.InvalidField(errors.Violation("provider.settings.region", why))
