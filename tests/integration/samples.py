"""Values to store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    CallError,
    Cost,
    CostItem,
    FinishReason,
    GenerationParams,
    ModalityTokens,
    Reasoning,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.content import Modality, ProviderToolUse
from llm_service.domain.provider import (
    CancelPolicy,
    Credential,
    EmbeddingInfo,
    Model,
    ModelCapabilities,
    ModelOrigin,
    ModelStage,
    Price,
    PriceItem,
    Provider,
    RateLimits,
    SourceType,
    UpstreamTimeouts,
)
from llm_service.domain.usage import Operation, UsageRecord, UsageSource

NOW = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)
NUMBERS = count(1)
USAGE = TokenUsage(
    input_tokens=10,
    output_tokens=20,
    cache_read_input_tokens=3,
    cache_write_input_tokens=4,
    reasoning_output_tokens=5,
    modality_tokens=(ModalityTokens(Modality.AUDIO, 1, 2),),
    estimated=True,
    cache_write_1h_input_tokens=2,
    provider_tool_uses=(ProviderToolUse("web-search", 3),),
    reported_nano_usd=2**41,
)


def a_provider(provider_id: str = "main", tenant: str = "acme", **changes) -> Provider:
    return Provider(
        tenant=tenant,
        provider_id=provider_id,
        uid=f"uid-{next(NUMBERS)}",
        kind=changes.pop("kind", "openai"),
        create_time=changes.pop("create_time", NOW),
        update_time=changes.pop("update_time", NOW),
        **changes,
    )


def a_full_provider() -> Provider:
    return a_provider(
        display_name="Müller & 猫",
        description="a",
        base_uri="https://api.example.com/v1",
        settings={"region": "eu", 'quo"ted.key': "\\"},
        default_credential="tenants/acme/providers/main/credentials/default",
        disabled=True,
        priority=7,
        weight=2**40,
        rate_limits=RateLimits(1, 2**40, None, 4),
        timeouts=UpstreamTimeouts(connect=1.5, idle=0.25, min_output_tokens_per_second=2.5),
        cancel_policy=CancelPolicy.DRAIN,
        labels={"team": "x"},
        delete_time=NOW + timedelta(days=1),
        purge_time=NOW + timedelta(days=31),
    )


def a_credential(provider: Provider, credential_id: str = "default", **changes) -> Credential:
    return Credential(
        provider_uid=provider.uid,
        provider_name=provider.name,
        credential_id=credential_id,
        uid=f"uid-{next(NUMBERS)}",
        source_type=changes.pop("source_type", SourceType.API_KEY),
        create_time=changes.pop("create_time", NOW),
        update_time=NOW,
        **changes,
    )


def a_full_credential(provider: Provider) -> Credential:
    return a_credential(
        provider,
        secret_version=3,
        sealed="sealed:" + "x" * 30_000,
        reference="OPENAI_API_KEY",
        obfuscated_secret="sk-...9f3a",
        display_name="the key",
        disabled=True,
        rejected=True,
        weight=3,
        rate_limits=RateLimits(requests_per_day=5),
        expire_time=NOW + timedelta(days=1),
        last_use_time=NOW + timedelta(hours=1),
        last_check_time=NOW + timedelta(minutes=1),
    )


def a_model(provider: Provider, model_id: str = "gpt", **changes) -> Model:
    return Model(
        provider_name=provider.name,
        model_id=model_id,
        provider_model=changes.pop("provider_model", model_id),
        origin=changes.pop("origin", ModelOrigin.MANUAL),
        **changes,
    )


def a_full_model(provider: Provider) -> Model:
    return a_model(
        provider,
        provider_model="meta-llama/Llama-3.1-70B:free",
        aliases=("fast", "cheap"),
        display_name="Llama",
        description="a llama",
        input_modalities=(Modality.TEXT, Modality.IMAGE),
        output_modalities=(Modality.TEXT,),
        capabilities=ModelCapabilities(streaming=True, tools=False),
        context_window_tokens=128_000,
        max_output_tokens=4_096,
        price=Price("v1", (PriceItem("input_tokens", 150_000_000, 200_000),), NOW),
        dated_prices=(
            Price("v0", (PriceItem("input_tokens", 300_000_000),), NOW - timedelta(days=30)),
            Price("v2", (PriceItem("input_tokens", 100_000_000),), NOW + timedelta(days=30)),
        ),
        rate_limits=RateLimits(tokens_per_minute=2**40),
        embedding=EmbeddingInfo(
            dimensions=3, variable_dimensions=True, max_inputs=9, vector_space="x"
        ),
        default_params=GenerationParams(
            temperature=0.1, stop_sequences=("a", "b"), reasoning=Reasoning(budget_tokens=5)
        ),
        disabled=True,
        stage=ModelStage.STABLE,
        retire_time=NOW + timedelta(days=9),
        replacement_model="tenants/acme/providers/main/models/next",
        sync_time=NOW,
        labels={"team": "x"},
        priority=5,
    )


def an_attempt(**changes) -> Attempt:
    target = ServedBy("tenants/acme/providers/main", "tenants/acme/providers/main/models/gpt")
    return replace(Attempt(target, NOW, 1.25), **changes)


def a_record(number: int, tenant: str = "acme", **changes) -> UsageRecord:
    """`number` decides the id, and so the order."""
    create_time = changes.pop("create_time", NOW + timedelta(seconds=number))
    return UsageRecord(
        record_id=f"{tenant}-{number:06}",
        completion_id=changes.pop("completion_id", f"completion-{number}"),
        attribution=changes.pop("attribution", Attribution(tenant)),
        attempt=changes.pop("attempt", an_attempt(start_time=create_time)),
        create_time=create_time,
        **changes,
    )


def a_full_record() -> UsageRecord:
    return a_record(
        1,
        attribution=Attribution("acme", "agent", "user", "tools", "session", {"team": "x"}),
        attempt=Attempt(
            ServedBy("providers/p", "providers/p/models/m", "c", "upstream", "req-1", "config"),
            NOW,
            1.5,
            CallError("PROVIDER_TIMEOUT", "too slow", 2.5, 504, "timeout"),
            USAGE,
            Cost(
                2**40,
                (CostItem("input_tokens", 10, 7),),
                "v1",
                estimated=True,
                incomplete=True,
                reported_nano_usd=2**41,
                price_effective_time=NOW,
            ),
        ),
        finish_reason=FinishReason.MAX_OUTPUT_TOKENS,
        error_reason="PROVIDER_TIMEOUT",
        trace_id="0123456789abcdef0123456789abcdef",
        first_token=0.25,
        operation=Operation.EMBEDDINGS,
        usage_source=UsageSource.PROGRESS,
        attempt_id="01980000-0000-7000-8000-000000000001",
    )
