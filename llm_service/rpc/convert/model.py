"""Models of the catalogue: protobuf <-> domain."""

from dataclasses import fields

from llm_service.domain.completion import GenerationParams
from llm_service.domain.content import Modality
from llm_service.domain.provider import (
    EmbeddingInfo,
    Model,
    ModelCapabilities,
    ModelOrigin,
    ModelStage,
    Price,
    PriceItem,
    RateLimits,
)
from llm_service.rpc.convert.checks import Checks, given
from llm_service.rpc.convert.generation import from_params, to_params
from llm_service.rpc.convert.provider import (
    from_rate_limits,
    set_times,
    to_etag,
    to_moment,
    to_rate_limits,
)
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.stubs import common_pb2
from llm_service.rpc.stubs import model_pb2 as pb

_CAPABILITIES = tuple(field.name for field in fields(ModelCapabilities))
_MODALITIES = {common_pb2.Modality.Value(f"MODALITY_{one.name}"): one for one in Modality}
_MODALITY_NUMBERS = {modality: number for number, modality in _MODALITIES.items()}
_STAGES = {pb.Model.Stage.Value(f"STAGE_{stage.name}"): stage for stage in ModelStage}


def to_model(message: pb.Model, provider_name: str, model_id: str, path: str) -> Model:
    """What an operator writes of a model, as a manual one.

    Raises:
        InvalidField: enum values this service does not know, parameters out of range.
    """
    checks = Checks()
    if message.stage and message.stage not in _STAGES:
        checks.refuse(f"{path}.stage", "is not a known stage")
    model = Model(
        provider_name=provider_name,
        model_id=model_id,
        provider_model=message.provider_model,
        origin=ModelOrigin.MANUAL,
        aliases=tuple(message.aliases),
        display_name=message.display_name,
        description=message.description,
        input_modalities=_to_modalities(message, "input_modalities", path, checks),
        output_modalities=_to_modalities(message, "output_modalities", path, checks),
        capabilities=_to_capabilities(message.capabilities),
        context_window_tokens=message.context_window_tokens,
        max_output_tokens=message.max_output_tokens,
        price=to_price(message.price, f"{path}.price") if message.HasField("price") else None,
        dated_prices=tuple(
            to_price(price, f"{path}.dated_prices[{index}]")
            for index, price in enumerate(message.dated_prices)
        ),
        rate_limits=to_rate_limits(message.rate_limits),
        embedding=_to_embedding(message.embedding) if message.HasField("embedding") else None,
        default_params=to_params(message.default_params, f"{path}.default_params", checks),
        disabled=message.disabled,
        stage=_STAGES.get(message.stage),
        retire_time=to_moment(message, "retire_time", path),
        replacement_model=message.replacement_model,
        labels=dict(message.labels),
        priority=message.priority if message.HasField("priority") else None,
    )
    checks.done()
    return model


def from_model(model: Model) -> pb.Model:
    try:
        return _whole(model)
    except ValueError:  # a number in the database that no field of the contract can hold
        etag = to_etag(model.version)
        return pb.Model(name=model.name, state=pb.Model.STATE_QUARANTINED, etag=etag)


def _whole(model: Model) -> pb.Model:
    message = pb.Model(
        name=model.name,
        provider_model=model.provider_model,
        aliases=model.aliases,
        display_name=model.display_name,
        description=model.description,
        input_modalities=[_MODALITY_NUMBERS[one] for one in model.input_modalities],
        output_modalities=[_MODALITY_NUMBERS[one] for one in model.output_modalities],
        context_window_tokens=model.context_window_tokens,
        max_output_tokens=model.max_output_tokens,
        disabled=model.disabled,
        replacement_model=model.replacement_model,
        origin=pb.Model.Origin.Value(f"ORIGIN_{model.origin.name}"),
        labels=model.labels,
        etag=to_etag(model.version),
        priority=model.priority,
        dated_prices=[from_price(price) for price in model.dated_prices],
        state=_state(model),
    )
    if model.stage is not None:
        message.stage = pb.Model.Stage.Value(f"STAGE_{model.stage.name}")
    set_times(message, model, "retire_time", "sync_time")
    _add_details(message, model)
    return message


def _state(model: Model) -> pb.Model.State.ValueType:
    if model.unreadable:
        return pb.Model.STATE_QUARANTINED
    return pb.Model.STATE_DISABLED if model.disabled else pb.Model.STATE_ACTIVE


def _add_details(message: pb.Model, model: Model) -> None:
    if model.capabilities != ModelCapabilities():
        values = {name: getattr(model.capabilities, name) for name in _CAPABILITIES}
        message.capabilities.CopyFrom(pb.ModelCapabilities(**values))
    if model.price is not None:
        message.price.CopyFrom(from_price(model.price))
    if model.rate_limits != RateLimits():
        message.rate_limits.CopyFrom(from_rate_limits(model.rate_limits))
    if (embedding := model.embedding) is not None:
        message.embedding.CopyFrom(
            pb.EmbeddingInfo(
                dimensions=embedding.dimensions,
                variable_dimensions=embedding.variable_dimensions,
                max_inputs=embedding.max_inputs,
                vector_space=embedding.vector_space,
            )
        )
    if model.default_params != GenerationParams():
        message.default_params.CopyFrom(from_params(model.default_params))


def _to_modalities(message: pb.Model, name: str, path: str, checks: Checks) -> tuple[Modality, ...]:
    numbers = getattr(message, name)
    if any(number not in _MODALITIES for number in numbers):
        checks.refuse(f"{path}.{name}", "holds an unknown modality")
    return tuple(dict.fromkeys(_MODALITIES[one] for one in numbers if one in _MODALITIES))


def _to_capabilities(message: pb.ModelCapabilities) -> ModelCapabilities:
    return ModelCapabilities(**{name: given(message, name) for name in _CAPABILITIES})


def _to_embedding(message: pb.EmbeddingInfo) -> EmbeddingInfo:
    return EmbeddingInfo(
        message.dimensions, message.variable_dimensions, message.max_inputs, message.vector_space
    )


def to_price(message: pb.Price, path: str) -> Price:
    return Price(
        version=message.version,
        items=tuple(
            PriceItem(item.meter, item.nano_usd_per_million, item.min_input_tokens)
            for item in message.items
        ),
        effective_time=to_moment(message, "effective_time", path),
    )


def from_price(price: Price) -> pb.Price:
    return pb.Price(
        version=price.version,
        effective_time=to_timestamp(price.effective_time) if price.effective_time else None,
        items=[
            pb.PriceItem(
                meter=item.meter,
                nano_usd_per_million=item.nano_usd_per_million,
                min_input_tokens=item.min_input_tokens,
            )
            for item in price.items
        ],
    )
