"""What ProviderAdminService tells of circuits, and how it resets them."""

from llm_service.domain.health import ANY
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.health.administration import HealthAdministration
from llm_service.gateway.paging import attribute, page
from llm_service.rpc import names
from llm_service.rpc.convert.health import from_circuit
from llm_service.rpc.listing import attempt, listing, next_token
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb

MAX_ID = 128


async def list_circuits(
    health: HealthAdministration, request: pb.ListCircuitsRequest
) -> pb.ListCircuitsResponse:
    parent = names.provider(request.parent, "parent")
    scope = (request.parent,)
    asked = listing(request, "ListCircuits", {}, scope)
    circuits = await health.list(parent.tenant, parent.provider_id)
    found = page(circuits, asked, ("model", "credential"), attribute)
    return pb.ListCircuitsResponse(
        circuits=map(from_circuit, found.items),
        next_page_token=next_token(request, "ListCircuits", found, scope),
    )


async def reset_circuits(
    health: HealthAdministration, request: pb.ResetCircuitsRequest
) -> pb.ResetCircuitsResponse:
    wrong: list[Violation] = []
    name = names.provider(request.name)
    credential = attempt(wrong, lambda: _id_of(name, request.credential, "credential"))
    model = attempt(wrong, lambda: _id_of(name, request.model, "model"))
    if credential is None or model is None:
        raise InvalidField(*wrong)
    reset = await health.reset(name.tenant, name.provider_id, credential, model)
    return pb.ResetCircuitsResponse(reset_count=reset)


def _id_of(provider: names.ProviderName, text: str, field: str) -> str:
    """The id of one of the provider's own, which calls may have named without its being listed."""
    if not text:
        return ANY
    prefix = f"{provider}/{field}s/"
    child = text.removeprefix(prefix)
    if child in (text, ANY) or not child.isprintable() or not 0 < len(child) <= MAX_ID:
        raise InvalidField(Violation(field, f'must be "{prefix}{{{field}}}"'))
    return child
