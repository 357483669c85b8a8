"""Resource names: read into their parts, or refused."""

import re
from dataclasses import dataclass

from llm_service.errors import InvalidField, Violation
from llm_service.rpc.convert.checks import TENANT_ID

ALL_TENANTS = "tenants/-"
DEFAULT_TENANT = "default"

ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")

_PROVIDER_FORM = '"providers/{provider}" or "tenants/{tenant}/providers/{provider}"'


@dataclass(frozen=True, slots=True)
class ProviderName:
    """`tenant` "" is shared by everyone."""

    tenant: str
    provider_id: str

    def __str__(self) -> str:
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}providers/{self.provider_id}"


@dataclass(frozen=True, slots=True)
class ChildName:
    """A provider's credential or model; `child_id` is its last segment."""

    provider: ProviderName
    child_id: str

    @property
    def parts(self) -> tuple[str, str, str]:
        """Tenant, provider id and its own id."""
        return self.provider.tenant, self.provider.provider_id, self.child_id


def provider(text: str, field: str = "name") -> ProviderName:
    """The parts of a provider's name.

    Raises:
        InvalidField: on `field`.
    """
    found = _provider(text)
    if found is None:
        raise InvalidField(Violation(field, f"must be {_PROVIDER_FORM}"))
    return found


def credential(text: str, field: str = "name") -> ChildName:
    """The parts of "{provider}/credentials/{credential}"."""
    return _child(text, "credentials", field)


def model(text: str, field: str = "name") -> ChildName:
    """The parts of "{provider}/models/{model}"."""
    return _child(text, "models", field)


def model_config(text: str, field: str = "name") -> tuple[str, str]:
    """The tenant, "" for everybody's, and the id of a model configuration's name."""
    match text.split("/"):
        case ["modelConfigs", config_id] if ID.fullmatch(config_id):
            return "", config_id
        case ["tenants", tenant, "modelConfigs", config_id] if TENANT_ID.fullmatch(
            tenant
        ) and ID.fullmatch(config_id):
            return tenant, config_id
    form = '"modelConfigs/{model_config}" or "tenants/{tenant}/modelConfigs/{model_config}"'
    raise InvalidField(Violation(field, f"must be {form}"))


def parent_tenant(text: str, field: str = "parent", *, empty: str = "") -> str:
    """The tenant of "tenants/{tenant}"; `empty` for ""."""
    if not text:
        return empty
    tenant = text.removeprefix("tenants/")
    if tenant == text or not TENANT_ID.fullmatch(tenant):
        raise InvalidField(Violation(field, 'must be "" or "tenants/{tenant}"'))
    return tenant


def parent_tenants(text: str, *, empty: str = "") -> str | None:
    """As `parent_tenant`, and None for "tenants/-": every tenant."""
    return None if text == ALL_TENANTS else parent_tenant(text, empty=empty)


def new_id(text: str, field: str) -> str:
    """An id that a caller chose for a new resource."""
    if not ID.fullmatch(text):
        raise InvalidField(Violation(field, f"must match ^{ID.pattern}$"))
    return text


def is_model(text: str) -> bool:
    """A model's resource name rather than an alias."""
    head, _, model_id = text.rpartition("/models/")
    return bool(_provider(head) and ID.fullmatch(model_id))


def _provider(text: str) -> ProviderName | None:
    match text.split("/"):
        case ["providers", provider_id] if ID.fullmatch(provider_id):
            return ProviderName("", provider_id)
        case ["tenants", tenant, "providers", provider_id] if TENANT_ID.fullmatch(
            tenant
        ) and ID.fullmatch(provider_id):
            return ProviderName(tenant, provider_id)
    return None


def _child(text: str, collection: str, field: str) -> ChildName:
    head, _, child_id = text.rpartition(f"/{collection}/")
    parent = _provider(head)
    if parent is None or not ID.fullmatch(child_id):
        singular = collection.removesuffix("s")
        form = f'"{{provider}}/{collection}/{{{singular}}}"'
        raise InvalidField(Violation(field, f"must be {form}"))
    return ChildName(parent, child_id)
