"""Which role each method needs. A method without a line here keeps the server from starting."""

from collections.abc import Iterable, Mapping

from llm_service.domain.access import Role

ROLES: Mapping[str, Role | None] = {
    "llmservice.v1.CompletionService": Role.INVOKE,
    "llmservice.v1.EmbeddingService": Role.INVOKE,
    "llmservice.v1.ModelService": Role.INVOKE,
    "llmservice.v1.ProviderAdminService": Role.ADMIN,
    "llmservice.v1.ConfigService": Role.CONFIG,
    "llmservice.v1.UsageService": Role.USAGE_READ,
    "llmservice.v1.AlertService": Role.USAGE_READ,
    "llmservice.v1.WebhookService": Role.ADMIN,
    "llmservice.v1.BudgetService": Role.BUDGET,
    "llmservice.v1.AuditService": Role.AUDIT_READ,
    "llmservice.v1.AccessService": Role.ACCESS,
    # Says SERVING or NOT_SERVING, to probes that have no key.
    "grpc.health.v1.Health": None,
    # Says what this project publishes anyway, where the operator has it on.
    "grpc.reflection.v1.ServerReflection": None,
    "grpc.reflection.v1alpha.ServerReflection": None,
}
"""By service, for all of its methods; None: for everybody, without credentials."""


class Unprotected(Exception):
    """A server was put together with methods nobody decided about."""


def policies(methods: Iterable[str]) -> dict[str, Role | None]:
    """The role that each method ("/package.Service/Method") needs.

    Raises:
        Unprotected: names every method that has no policy.
    """
    found: dict[str, Role | None] = {}
    without: list[str] = []
    for method in methods:
        service = method.removeprefix("/").partition("/")[0]
        if service in ROLES:
            found[method] = ROLES[service]
        else:
            without.append(method)
    if without:
        raise Unprotected(f"no access policy for {', '.join(sorted(without))}")
    return found
