"""What the span of an attempt says of its answer."""

from llm_service.domain.completion import FinishReason, ServedBy, TokenUsage
from llm_service.telemetry import AttemptSpan


def told(
    span: AttemptSpan, served_by: ServedBy, usage: TokenUsage, finish_reason: FinishReason | None
) -> None:
    """Say by whom it was served, with what, and why it ended."""
    span.finished(
        response_model=served_by.provider_model,
        response_id=served_by.provider_request_id,
        finish_reason=finish_reason or "",
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read=usage.cache_read_input_tokens,
        cache_write=usage.cache_write_input_tokens,
        reasoning=usage.reasoning_output_tokens,
    )
