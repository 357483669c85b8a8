"""What model configurations may hold: every field that is wrong is named."""

from collections.abc import Iterator
from dataclasses import fields

from llm_service import errors
from llm_service.domain.completion import GenerationParams, Reasoning
from llm_service.domain.model_config import CAPS, TargetSpec
from llm_service.domain.provider import Price
from llm_service.errors import GatewayError, Violation
from llm_service.gateway.admin.drafts import ModelConfigDraft
from llm_service.gateway.admin.rules import MAX_TEXT, labels, price, text

MAX_TARGETS = 16
MAX_NAME = 512

_OF_AN_ATTEMPT: tuple[type[GatewayError], ...] = (
    errors.BudgetExceeded,
    errors.CapabilityNotSupported,
    errors.ContentFiltered,
    errors.ContextLengthExceeded,
    errors.CostLimitExceeded,
    errors.CostUnknown,
    errors.EgressDenied,
    errors.EncryptionKeyMissing,
    errors.ModelNotFound,
    errors.ProviderCredentialMissing,
    errors.ProviderCredentialRejected,
    errors.ProviderCredentialUnreadable,
    errors.ProviderPermissionDenied,
    errors.ProviderProtocolError,
    errors.ProviderQuotaExhausted,
    errors.ProviderRateLimited,
    errors.ProviderRejectedRequest,
    errors.ProviderTimeout,
    errors.ProviderUnavailable,
    errors.ProviderUnreachable,
    errors.RateLimited,
    errors.RequestTooLarge,
)
FALLBACK_REASONS = frozenset(error.reason for error in _OF_AN_ATTEMPT)
"""Why an attempt may fail, hence what may move a call on."""


def model_config(draft: ModelConfigDraft, tenant: str) -> Iterator[Violation]:
    """`tenant` "" is everybody's."""
    yield from text("model_config.display_name", draft.display_name, MAX_TEXT)
    yield from labels("model_config.labels", draft.labels)
    yield from _limits(draft.limits)
    if len(draft.targets) > MAX_TARGETS:
        yield Violation("model_config.targets", f"has more than {MAX_TARGETS} entries")
    for number, target in enumerate(draft.targets):
        yield from _target(f"model_config.targets[{number}]", target, tenant)


def _limits(limits: GenerationParams) -> Iterator[Violation]:
    for one in fields(GenerationParams):
        if one.name not in (*CAPS, "reasoning") and getattr(limits, one.name) not in (None, ()):
            yield Violation(f"model_config.limits.{one.name}", "cannot be capped")
    reasoning = limits.reasoning or Reasoning()
    for name in ("effort", "include_thoughts"):
        if getattr(reasoning, name) is not None:
            yield Violation(f"model_config.limits.reasoning.{name}", "cannot be capped")


def _target(path: str, target: TargetSpec, tenant: str) -> Iterator[Violation]:
    if not 1 <= len(target.model) <= MAX_NAME or not target.model.isprintable():
        yield Violation(f"{path}.model", f"must be 1 to {MAX_NAME} printable characters")
    provider = _provider(target.model, "/models/")
    if provider and not _reaches(tenant, provider):
        yield Violation(f"{path}.model", "is of a provider that this configuration cannot reach")
    if target.credential:
        yield from _credential(f"{path}.credential", target.credential, provider, tenant)
    if target.price is not None:
        yield from _price(f"{path}.price", target.price, provider, tenant)
    yield from _fallback_reasons(f"{path}.fallback_reasons", target)


def _fallback_reasons(path: str, target: TargetSpec) -> Iterator[Violation]:
    for reason in target.fallback_reasons:
        if reason not in FALLBACK_REASONS:
            known = ", ".join(sorted(FALLBACK_REASONS))
            yield Violation(path, f"can hold {known}")
            break
    if len(set(target.fallback_reasons)) < len(target.fallback_reasons):
        yield Violation(path, "names a reason twice")


def _price(path: str, given: Price, provider: str, tenant: str) -> Iterator[Violation]:
    yield from price(path, given)
    if tenant and not provider.startswith(f"tenants/{tenant}/"):
        yield Violation(path, "is only for models of the tenant's own providers")


def _credential(path: str, name: str, provider: str, tenant: str) -> Iterator[Violation]:
    owner = _provider(name, "/credentials/")
    if not owner:
        yield Violation(path, 'must be "{provider}/credentials/{credential}"')
    elif not _reaches(tenant, owner):
        yield Violation(path, "is of a provider that this configuration cannot reach")
    elif provider and owner != provider:
        yield Violation(path, f"is not one of {provider}, whose model this is")


def _provider(name: str, collection: str) -> str:
    """The provider whose resource it names; "" if it names none."""
    provider, separator, rest = name.partition(collection)
    return provider if separator and rest else ""


def _reaches(tenant: str, provider: str) -> bool:
    """What is everybody's is reached from everywhere, what is a tenant's by itself alone."""
    own = tenant and provider.startswith(f"tenants/{tenant}/providers/")
    return bool(own) or provider.startswith("providers/")
