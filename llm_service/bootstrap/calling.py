"""What a call goes through, put together."""

from dataclasses import dataclass

from llm_service.bootstrap import parts
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.budgets.downgrades import Downgrades
from llm_service.gateway.completions import Completions
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.explanations import Explanations
from llm_service.gateway.health.intake import Intake
from llm_service.gateway.rate_limits.limiter import RateLimiter
from llm_service.gateway.repeatable_calls import RepeatableCalls
from llm_service.gateway.routing import Router
from llm_service.gateway.upstream import Upstream
from llm_service.rpc.completion import CompletionServicer
from llm_service.rpc.config import ConfigServicer
from llm_service.rpc.embedding import EmbeddingServicer
from llm_service.settings import Settings


@dataclass(frozen=True)
class Calling:
    """From configuration to the provider."""

    configuration: Configuration
    upstream: Upstream
    router: Router
    limiter: RateLimiter
    intake: Intake
    downgrades: Downgrades

    def servicers(
        self, settings: Settings, calls: RepeatableCalls, configs: ModelConfigs
    ) -> tuple[object, ...]:
        """Of calls, and of what explains them."""
        default_model = parts.default_model(settings)
        completions = Completions(
            self.configuration,
            self.upstream,
            default_model=default_model,
            router=self.router,
            rate_limiter=self.limiter,
            intake=self.intake,
            downgrades=self.downgrades,
        )
        embeddings = Embeddings(
            self.configuration,
            self.upstream,
            most_bytes=settings.max_message_bytes,
            router=self.router,
            rate_limiter=self.limiter,
            intake=self.intake,
        )
        explanations = Explanations(self.configuration, default_model, self.router)
        return (
            CompletionServicer(completions, calls),
            EmbeddingServicer(embeddings, calls),
            ConfigServicer(configs, explanations),
        )
