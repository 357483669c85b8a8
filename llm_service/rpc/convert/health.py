"""Circuits and the health of providers: domain -> protobuf."""

from llm_service.domain.health import ANY, Circuit, CircuitNews, ProviderHealth
from llm_service.rpc.convert.completion import from_call_error
from llm_service.rpc.convert.times import to_duration, to_timestamp
from llm_service.rpc.stubs import provider_pb2 as pb


def from_health(health: ProviderHealth) -> pb.ProviderHealth:
    message = pb.ProviderHealth(error_ratio=health.error_ratio)
    if health.condition is not None:
        condition = f"CONDITION_{health.condition.name}"
        message.condition = pb.ProviderHealth.Condition.Value(condition)
    if health.check_time is not None:
        message.check_time.CopyFrom(to_timestamp(health.check_time))
    if health.last_error is not None:
        message.last_error.CopyFrom(from_call_error(health.last_error))
    if health.first_token_p50 is not None:
        message.first_token_p50.CopyFrom(to_duration(health.first_token_p50))
    if health.retry_time is not None:
        message.retry_time.CopyFrom(to_timestamp(health.retry_time))
    return message


def from_news(news: CircuitNews) -> pb.Circuit:
    """What an operator did to circuits; of all models or credentials where none is named."""
    _, credential_id, model_id = news.key
    return pb.Circuit(
        model="" if model_id == ANY else f"{news.name}/models/{model_id}",
        credential="" if credential_id == ANY else f"{news.name}/credentials/{credential_id}",
        state=pb.Circuit.State.Value(f"STATE_{news.state.name}"),
    )


def from_circuit(circuit: Circuit) -> pb.Circuit:
    message = pb.Circuit(
        model=circuit.model,
        credential=circuit.credential,
        state=pb.Circuit.State.Value(f"STATE_{circuit.state.name}"),
        reason=circuit.reason,
        error_ratio=circuit.error_ratio,
        attempt_count=circuit.attempt_count,
        ejection_count=circuit.ejection_count,
        tokens_per_second=circuit.tokens_per_second,
    )
    if circuit.retry_time is not None:
        message.retry_time.CopyFrom(to_timestamp(circuit.retry_time))
    if circuit.first_token is not None:
        message.first_token_duration.CopyFrom(to_duration(circuit.first_token))
    return message
