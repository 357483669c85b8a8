"""Completion requests, checked on their way in."""

import re
from collections.abc import Sequence

from llm_service.domain.access import TENANT_ID
from llm_service.domain.completion import (
    Attribution,
    CompletionRequest,
    GenerationParams,
    MidStreamFailure,
    RoutingOptions,
)
from llm_service.domain.content import Message
from llm_service.rpc.convert.checks import Checks
from llm_service.rpc.convert.content import (
    to_message,
    to_response_format,
    to_tool_choice,
    to_tools,
)
from llm_service.rpc.convert.generation import to_params, to_routing
from llm_service.rpc.request_ids import is_request_id
from llm_service.rpc.stubs import common_pb2, content_pb2
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.tenancy import narrowed

DEFAULT_TENANT = "default"
MAX_MODEL = 512

CALLERS_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MAX_MESSAGES = 10_000
_MAX_LABELS = 16
_MAX_LABEL_KEY = 64
_MAX_LABEL_VALUE = 256
_HEARTBEAT_LIMIT_SECONDS = 600.0
_RETENTIONS = frozenset(pb.ContentRetention.values())
_NO_PARAMS = GenerationParams()
_NO_ROUTING = RoutingOptions()


def to_request(message: pb.CompletionRequest, prefix: str = "") -> CompletionRequest:
    """Check and convert a request; `prefix` is its place in a message around it: "completion.".

    Raises:
        InvalidField: naming every bad field.
    """
    checks = Checks(prefix)
    model, options = message.model, message.stream_options
    if len(model) > MAX_MODEL:
        checks.refuse("model", f"must be at most {MAX_MODEL} characters")
    tools = to_tools(message.tools, checks) if message.tools else ()
    request = CompletionRequest(
        model=model,
        messages=_to_messages(message.messages, checks),
        params=to_params(message.params, "params", checks)
        if message.HasField("params")
        else _NO_PARAMS,
        attribution=to_attribution(message.attribution, "attribution", checks),
        tools=tools,
        tool_choice=to_tool_choice(message.tool_choice, tools, checks)
        if message.HasField("tool_choice")
        else None,
        response_format=to_response_format(message.response_format, checks)
        if message.HasField("response_format")
        else None,
        routing=to_routing(message.routing, "routing", checks)
        if message.HasField("routing")
        else _NO_ROUTING,
        heartbeat_seconds=_to_heartbeat(options, checks),
        include_completion=options.include_completion,
        mid_stream_failure=_to_mid_stream_failure(options, checks),
        provider_options_json=_to_options(message, checks) if message.provider_options_json else {},
        response_cache=message.response_cache.enabled,
        strict_params=message.strict_params,
    )
    if message.content_retention not in _RETENTIONS:
        checks.refuse("content_retention", "is not a known choice")
    check_request_id(message.request_id, checks)
    checks.done()
    return request


def _to_messages(said: Sequence[content_pb2.Message], checks: Checks) -> tuple[Message, ...]:
    checks.at_most("messages", said, _MAX_MESSAGES)
    if not said:
        checks.refuse("messages", "must hold at least one message")
    return tuple([to_message(m, f"messages[{index}]", checks) for index, m in enumerate(said)])


def to_attribution(message: common_pb2.Attribution, path: str, checks: Checks) -> Attribution:
    agent, user = message.agent, message.user
    interaction, session = message.interaction, message.session
    for name, value in (
        ("agent", agent),
        ("user", user),
        ("interaction", interaction),
        ("session", session),
    ):
        if value:
            checks.matches(f"{path}.{name}", value, CALLERS_ID)
    named = message.tenant
    tenant = named.removeprefix("tenants/")
    if named and (tenant == named or not TENANT_ID.fullmatch(tenant)):
        checks.refuse(f"{path}.tenant", 'must be "tenants/{tenant}"')
        tenant = ""
    labels = _to_labels(message, path, checks)
    tenant = narrowed(tenant, unnamed=DEFAULT_TENANT)
    return Attribution(tenant, agent, user, interaction, session, labels)


def _to_labels(message: common_pb2.Attribution, path: str, checks: Checks) -> dict[str, str]:
    given = message.labels
    if not given:
        return {}
    checks.at_most(f"{path}.labels", given, _MAX_LABELS)
    labels = dict(given)
    for key, value in labels.items():
        if not 0 < len(key) <= _MAX_LABEL_KEY or len(value.encode()) > _MAX_LABEL_VALUE:
            checks.refuse(f"{path}.labels", "a key is at most 64 and a value at most 256 bytes")
    return labels


def _to_heartbeat(options: pb.StreamOptions, checks: Checks) -> float | None:
    if not options.HasField("heartbeat_interval"):
        return None
    return checks.positive_duration(
        "stream_options.heartbeat_interval", options.heartbeat_interval, _HEARTBEAT_LIMIT_SECONDS
    )


def _to_mid_stream_failure(options: pb.StreamOptions, checks: Checks) -> MidStreamFailure:
    match options.mid_stream_failure:
        case (
            pb.StreamOptions.MID_STREAM_FAILURE_UNSPECIFIED
            | pb.StreamOptions.MID_STREAM_FAILURE_ABORT
        ):
            return MidStreamFailure.ABORT
        case pb.StreamOptions.MID_STREAM_FAILURE_RESTART:
            return MidStreamFailure.RESTART
    checks.refuse("stream_options.mid_stream_failure", "is not a known choice")
    return MidStreamFailure.ABORT


def _to_options(message: pb.CompletionRequest, checks: Checks) -> dict[str, str]:
    for kind, text in message.provider_options_json.items():
        checks.json(f"provider_options_json[{kind!r}]", text)
    return dict(message.provider_options_json)


def check_request_id(request_id: str, checks: Checks) -> None:
    if request_id and not is_request_id(request_id):
        checks.refuse("request_id", "must be a UUID")
