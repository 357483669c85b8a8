"""Why a call uses what it uses: the same resolution and routing as its own, with every origin."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from llm_service.domain.completion import GenerationParams, Reasoning, RoutingOptions
from llm_service.domain.model_config import TargetSpec
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.failover import DEFAULT_MAX_ATTEMPTS
from llm_service.gateway.resolution import (
    BUILT_IN,
    REQUEST,
    Asked,
    DefaultModel,
    Resolution,
    resolve,
    value_of,
)
from llm_service.gateway.routing import Router, load_prices
from llm_service.gateway.targets import Target

Options = GenerationParams | RoutingOptions

_BUILT_IN = RoutingOptions(max_attempts=DEFAULT_MAX_ATTEMPTS)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a call would use.

    `targets` hold resource names, the credential that would be used, and all params of each.
    `origins` are by path: "params.temperature", "targets[0].model".
    """

    targets: tuple[TargetSpec, ...]
    params: GenerationParams
    routing: RoutingOptions
    origins: dict[str, str]
    matched: tuple[str, ...]


class Explanations:
    """What `ResolveModelConfig` does. Nobody is called."""

    def __init__(
        self,
        configuration: Configuration,
        default_model: DefaultModel,
        router: Router | None = None,
    ) -> None:
        self._configuration = configuration
        self._default_model = default_model
        self._router = router or Router()

    async def explain(self, asked: Asked) -> Explanation:
        """What a completion that asks for this would use.

        Raises:
            GatewayError: as the completion, before anybody is called.
        """
        view = await self._configuration.view(asked.attribution.tenant)
        resolution = resolve(view, asked, self._default_model)
        await load_prices(view, resolution.routing)
        used = _with_built_in(resolution.routing)
        chain = self._router.targets(view, resolution)[: used.max_attempts]
        specs = tuple(_expanded(asked, resolution, target) for target in chain)
        origins = {
            **dict(_params_origins(asked, resolution, chain[0])),
            **dict(_routing_origins(asked, resolution)),
            **dict(_targets_origins(chain)),
        }
        names = tuple(config.name for config in resolution.matched)
        return Explanation(specs, specs[0].params, used, origins, names)


def _targets_origins(chain: tuple[Target, ...]) -> Iterator[tuple[str, str]]:
    for number, target in enumerate(chain):
        choice = target.choice
        yield f"targets[{number}].model", choice.origin
        if choice.spec.credential and choice.config is not None:
            yield f"targets[{number}].credential", choice.config.name
        elif target.credential is not None:
            yield f"targets[{number}].credential", target.provider.name


def _expanded(asked: Asked, resolution: Resolution, target: Target) -> TargetSpec:
    spec = target.choice.spec
    return TargetSpec(
        target.model.name,
        target.credential.name if target.credential else spec.credential,
        resolution.params(asked.params, target.choice, target.model),
        spec.fallback_reasons,
        target.choice.price,
    )


def _with_built_in(options: RoutingOptions) -> RoutingOptions:
    return replace(options, max_attempts=options.max_attempts or _BUILT_IN.max_attempts)


def _params_origins(
    asked: Asked, resolution: Resolution, target: Target
) -> Iterator[tuple[str, str]]:
    model = target.model
    layers: list[tuple[str, Options]] = [
        (REQUEST, asked.params),
        *resolution.layers(target.choice),
        (model.name, model.default_params),
    ]
    origins = _first_set(layers)
    sent = resolution.params(asked.params, target.choice, model)
    free = replace(resolution, caps={}).params(asked.params, target.choice, model)
    for path, cap in resolution.caps.items():
        if value_of(sent, path) != value_of(free, path):
            origins[path] = cap.config.name
    yield from ((f"params.{path}", origin) for path, origin in origins.items())


def _routing_origins(asked: Asked, resolution: Resolution) -> Iterator[tuple[str, str]]:
    layers: list[tuple[str, Options]] = [
        (REQUEST, asked.routing),
        *((config.name, config.routing) for config in resolution.matched),
        (BUILT_IN, _BUILT_IN),
    ]
    yield from ((f"routing.{path}", origin) for path, origin in _first_set(layers).items())


def _first_set(layers: list[tuple[str, Options]]) -> dict[str, str]:
    """Which layer sets each path first."""
    origins: dict[str, str] = {}
    for origin, options in layers:
        for path in _set_paths(options):
            origins.setdefault(path, origin)
    return origins


def _set_paths(options: Options | Reasoning, prefix: str = "") -> Iterator[str]:
    for field in fields(options):
        value = getattr(options, field.name)
        if isinstance(value, Reasoning):
            yield from _set_paths(value, f"{prefix}{field.name}.")
        elif value not in (None, ()):
            yield prefix + field.name
