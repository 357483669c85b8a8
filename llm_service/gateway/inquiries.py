"""Asking vendors what answers used that broke off, where they can tell."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime

from llm_service.domain.content import JsonObjectFormat, JsonSchemaFormat
from llm_service.domain.usage import UsageRecord
from llm_service.errors import GatewayError
from llm_service.gateway.attempts import TrackedAttempt
from llm_service.gateway.ids import new_id
from llm_service.providers.base import Adapter, Deadlines, Inquiry

logger = logging.getLogger(__name__)


def inquiry(attempt: TrackedAttempt, adapter: Adapter, seconds: float) -> Inquiry | None:
    """How to ask, within so many seconds; None: there is nothing to ask, or no way to.

    Of a format that was asked for it is not known whether the vendor saw a text or a tool call.
    """
    call = attempt.asked
    if call is None or seconds <= 0 or not attempt.accepted or attempt.settled:
        return None
    answer = attempt.evidence.broken_off(attempt.served_by.provider_request_id)
    if answer is None:
        return None
    if isinstance(call.request.response_format, JsonObjectFormat | JsonSchemaFormat):
        answer = replace(answer, is_text=False)
    limits = Deadlines(seconds, seconds, seconds, seconds)
    return adapter.inquiry(replace(call, deadlines=limits), answer)


async def inquire(attempt: TrackedAttempt, ask: Inquiry, seconds: float) -> None:
    """Ask, and take what the vendor says; else what was estimated stands."""
    try:
        async with asyncio.timeout(seconds):
            attempt.evidence.asked(await ask())
    except (GatewayError, TimeoutError) as error:
        logger.info("a provider did not say what an answer used: %s", type(error).__name__)
    except Exception:  # nobody else would hear of it
        logger.exception("a provider could not be asked what an answer used")


def restated(attempt: TrackedAttempt, record: UsageRecord) -> UsageRecord:
    """The record of an attempt, by what is known of it now."""
    evidence = attempt.evidence
    usage = evidence.usage()
    return replace(
        record,
        record_id=new_id(),
        attempt=replace(record.attempt, usage=usage, cost=attempt.cost(usage)),
        create_time=datetime.now(UTC),
        usage_source=evidence.source,
    )
