"""Embeddings: what is asked, and what comes back."""

from collections.abc import Sequence
from dataclasses import field

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    Cost,
    RoutingOptions,
    ServedBy,
    TokenUsage,
    Warning,
)
from llm_service.domain.content import Media, Text
from llm_service.domain.value import value

TASKS = ("query", "document", "similarity", "classification", "clustering")
"""What vectors may be for."""


@value
class EmbeddingRequest:
    """A call as the caller made it.

    `model` "": the configured one. `dimensions` None: as many as the model gives. `task`: one of
    `TASKS`, or "" for unknown. `truncate`: cut inputs that are too long instead of refusing them.
    `completion_id`: where it was chosen before.
    """

    model: str
    inputs: tuple[Text | Media, ...]
    attribution: Attribution
    dimensions: int | None = None
    task: str = ""
    truncate: bool = False
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    completion_id: str = ""


@value
class EmbeddingAnswer:
    """One vector per input, in order and of one length. `usage` is that of the last attempt."""

    id: str
    vectors: tuple[Sequence[float], ...]
    usage: TokenUsage
    cost: Cost
    served_by: ServedBy
    attempts: tuple[Attempt, ...]
    warnings: tuple[Warning, ...] = ()
