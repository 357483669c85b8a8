"""Resource names: read into their parts, or refused; another tenant's look as if not there."""

import re
from dataclasses import dataclass

from llm_service.domain.access import TENANT_ID
from llm_service.errors import InvalidField, Violation
from llm_service.rpc.tenancy import narrowed, require_reach, widest

ALL_TENANTS = "tenants/-"
DEFAULT_TENANT = "default"
WILDCARD = "-"

ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")

_WEBHOOK = re.compile(
    rf"(?:tenants/(?P<tenant>{TENANT_ID.pattern})/)?webhooks/(?P<webhook>{ID.pattern})"
)
_KEY_ID = re.compile(r"[a-z2-7]{16}")
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


def provider(text: str, field: str = "name", *, shared: bool = False) -> ProviderName:
    """The parts of a provider's name. `shared`: a tenant may name one that it shares.

    Raises:
        InvalidField: on `field`.
        ResourceNotFound: it is not the caller's.
    """
    found = _provider(text)
    if found is None:
        raise InvalidField(Violation(field, f"must be {_PROVIDER_FORM}"))
    require_reach(found.tenant, "provider", shared=shared)
    return found


def credential(text: str, field: str = "name") -> ChildName:
    """The parts of "{provider}/credentials/{credential}"."""
    return _child(text, "credentials", field)


def model(text: str, field: str = "name", *, shared: bool = False) -> ChildName:
    """The parts of "{provider}/models/{model}". `shared`: as in `provider`."""
    return _child(text, "models", field, shared=shared)


def client_key(text: str, field: str = "name") -> tuple[str, str]:
    """Tenant and id of "clientKeys/{}" or "tenants/{}/clientKeys/{}".

    Raises:
        InvalidField: on `field`.
        ResourceNotFound: it is not the caller's.
    """
    tenant, _, key_id = text.rpartition("clientKeys/")
    owner = re.fullmatch(r"(?:tenants/([^/]+)/)?", tenant)
    known = owner is not None and (owner[1] is None or TENANT_ID.fullmatch(owner[1]))
    if owner is None or not known or not _KEY_ID.fullmatch(key_id):
        form = '"clientKeys/{client_key}" or "tenants/{tenant}/clientKeys/{client_key}"'
        raise InvalidField(Violation(field, f"must be {form}"))
    require_reach(owner[1] or "", "client key")
    return owner[1] or "", key_id


def model_config(text: str, field: str = "name", *, shared: bool = False) -> tuple[str, str]:
    """The tenant, "" for everybody's, and the id of a model configuration's name.

    Raises:
        InvalidField: on `field`.
        ResourceNotFound: it is not the caller's, nor `shared` with it.
    """
    found: tuple[str, str] | None = None
    match text.split("/"):
        case ["modelConfigs", config_id] if ID.fullmatch(config_id):
            found = "", config_id
        case ["tenants", tenant, "modelConfigs", config_id] if TENANT_ID.fullmatch(
            tenant
        ) and ID.fullmatch(config_id):
            found = tenant, config_id
    if found is not None:
        require_reach(found[0], "model configuration", shared=shared)
        return found
    form = '"modelConfigs/{model_config}" or "tenants/{tenant}/modelConfigs/{model_config}"'
    raise InvalidField(Violation(field, f"must be {form}"))


def budget(text: str, field: str = "name", *, wildcard: bool = False) -> tuple[str, str]:
    """The tenant, "" for all together, and the id of a budget's name; `wildcard`: or "-".

    Raises:
        InvalidField: on `field`.
        ResourceNotFound: it is not the caller's.
    """
    owner, _, budget_id = text.rpartition("budgets/")
    tenant = re.fullmatch(r"(?:tenants/([^/]+)/)?", owner)
    known = tenant is not None and (tenant[1] is None or TENANT_ID.fullmatch(tenant[1]))
    fits = ID.fullmatch(budget_id) or (wildcard and budget_id == WILDCARD)
    if tenant is None or not known or not fits:
        form = '"budgets/{budget}" or "tenants/{tenant}/budgets/{budget}"'
        raise InvalidField(Violation(field, f"must be {form}"))
    require_reach(tenant[1] or "", "budget")
    return tenant[1] or "", budget_id


def webhook(text: str, field: str = "name") -> tuple[str, str]:
    """Tenant and id of "webhooks/{}" or "tenants/{}/webhooks/{}".

    Raises:
        InvalidField: on `field`.
        ResourceNotFound: it is not the caller's.
    """
    found = _WEBHOOK.fullmatch(text)
    if found is None:
        form = '"webhooks/{webhook}" or "tenants/{tenant}/webhooks/{webhook}"'
        raise InvalidField(Violation(field, f"must be {form}"))
    tenant, webhook_id = found["tenant"] or "", found["webhook"]
    require_reach(tenant, "webhook")
    return tenant, webhook_id


def parent_tenant(text: str, field: str = "parent", *, empty: str = "") -> str:
    """The tenant of "tenants/{tenant}"; for "" the caller's own, `empty` if it has none.

    Raises:
        InvalidField: on `field`.
        PermissionDenied: it is not the caller's.
    """
    tenant = text.removeprefix("tenants/")
    if text and (tenant == text or not TENANT_ID.fullmatch(tenant)):
        raise InvalidField(Violation(field, 'must be "" or "tenants/{tenant}"'))
    return narrowed(tenant, unnamed=empty)


def parent_tenants(text: str, *, empty: str = "") -> str | None:
    """As `parent_tenant`, and None for "tenants/-": every tenant, or the caller's own."""
    return widest() if text == ALL_TENANTS else parent_tenant(text, empty=empty)


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


def _child(text: str, collection: str, field: str, *, shared: bool = False) -> ChildName:
    head, _, child_id = text.rpartition(f"/{collection}/")
    parent = _provider(head)
    if parent is None or not ID.fullmatch(child_id):
        singular = collection.removesuffix("s")
        form = f'"{{provider}}/{collection}/{{{singular}}}"'
        raise InvalidField(Violation(field, f"must be {form}"))
    require_reach(parent.tenant, "provider", shared=shared)
    return ChildName(parent, child_id)
