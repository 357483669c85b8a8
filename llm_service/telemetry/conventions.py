"""The names telemetry is published under: OpenTelemetry's RPC and GenAI conventions, and our own.

The GenAI conventions are still in development and their Python constants are deprecated, so the
names live here and nowhere else.
"""

SCOPE = "llm_service"

# --- RPC

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

CALL_DURATION = "rpc.server.call.duration"

SERVER_FAULTS = frozenset(
    {
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
)
"""Status codes that make a server span an error; with every other one the server did its work."""

# --- GenAI

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105  a name

OPERATION_DURATION = "gen_ai.client.operation.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105  a name
TIME_TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"

PROVIDER_NAMES = {
    "azure-openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""Provider kinds the conventions spell in another way than we do."""

# --- ours

ACTIVE_CALLS = "llm_service.server.active_calls"
LEDGER_BACKLOG = "llm_service.ledger.backlog"
CONFIG_AGE = "llm_service.config.age"
QUARANTINED = "llm_service.config.quarantined"
LOOP_LAG = "llm_service.event_loop.lag"
ALERTS = "llm_service.alerts"
ALERT_KIND = "llm_service.alert.kind"
WEBHOOK_DELIVERIES = "llm_service.webhook.deliveries"
WEBHOOK_OUTCOME = "llm_service.webhook.outcome"
WEBHOOK_UNDELIVERED_AGE = "llm_service.webhook.undelivered_age"

OTHER = "_OTHER"
"""Stands for every label value beyond the bound on their number."""

RPC_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 60, 600)
GENAI_SECONDS = tuple(0.01 * 2**n for n in range(14))
FIRST_CHUNK_SECONDS = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    10,
    30,
    60,
)
TOKENS = tuple(4**n for n in range(14))
