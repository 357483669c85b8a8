"""Embedding requests, checked on their way in, and what comes back."""

from llm_service.domain.completion import RoutingOptions
from llm_service.domain.content import Media, Modality, Text
from llm_service.domain.embedding import TASKS, EmbeddingAnswer, EmbeddingRequest
from llm_service.rpc.convert.checks import Checks, given
from llm_service.rpc.convert.completion import (
    from_attempts,
    from_cost,
    from_served_by,
    from_usage,
    from_warnings,
)
from llm_service.rpc.convert.content import to_media
from llm_service.rpc.convert.generation import to_routing
from llm_service.rpc.convert.request import MAX_MODEL, check_request_id, to_attribution
from llm_service.rpc.stubs import embedding_service_pb2 as pb

MAX_INPUTS = 2048

_MOST_DIMENSIONS = 1 << 20


def to_embedding_request(message: pb.EmbedRequest) -> EmbeddingRequest:
    """Check and convert a request.

    Raises:
        InvalidField: naming every bad field.
    """
    checks = Checks()
    if len(message.model) > MAX_MODEL:
        checks.refuse("model", f"must be at most {MAX_MODEL} characters")
    checks.at_most("inputs", message.inputs, MAX_INPUTS)
    if not message.inputs:
        checks.refuse("inputs", "must hold at least one input")
    dimensions = given(message, "dimensions")
    if dimensions is not None:
        checks.between("dimensions", dimensions, 1, _MOST_DIMENSIONS)
    if message.task and message.task not in TASKS:
        checks.refuse("task", f"must be one of {', '.join(TASKS)}, or empty")
    request = EmbeddingRequest(
        model=message.model,
        inputs=tuple(
            _to_input(one, f"inputs[{n}]", checks) for n, one in enumerate(message.inputs)
        ),
        attribution=to_attribution(message.attribution, "attribution", checks),
        dimensions=dimensions,
        task=message.task,
        truncate=message.truncate,
        routing=_to_routing(message, checks),
    )
    check_request_id(message.request_id, checks)
    checks.done()
    return request


def _to_input(message: pb.EmbedInput, path: str, checks: Checks) -> Text | Media:
    match message.WhichOneof("input"):
        case "text":
            return Text(message.text)
        case "image":
            return to_media(message.image, Modality.IMAGE, f"{path}.image", checks)
    checks.refuse(path, "needs one of text and image")
    return Text("")


def _to_routing(message: pb.EmbedRequest, checks: Checks) -> RoutingOptions:
    if not message.HasField("routing"):
        return RoutingOptions()
    if message.routing.fallback_models:
        checks.refuse(
            "routing.fallback_models", "is not taken: vectors of different models do not mix"
        )
    return to_routing(message.routing, "routing", checks)


def from_embedding_answer(answer: EmbeddingAnswer) -> pb.EmbedResponse:
    """Everything but the vectors, of which there may be many."""
    return pb.EmbedResponse(
        usage=from_usage(answer.usage),
        cost=from_cost(answer.cost),
        served_by=from_served_by(answer.served_by),
        attempts=from_attempts(answer.attempts),
        warnings=from_warnings(answer.warnings),
        id=answer.id,
    )
