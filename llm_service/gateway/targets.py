"""What a call may be sent to: a model of a provider, with the credential to use there."""

from llm_service.domain.completion import ServedBy
from llm_service.domain.model_config import TargetSpec
from llm_service.domain.provider import Credential, Model, Provider
from llm_service.domain.value import value
from llm_service.gateway.resolution import Choice

ANYTHING = Choice(TargetSpec(""))
"""Of a target that nobody chose in particular."""


@value
class Target:
    """A model on a provider, and the credential to use there; None: it needs none or has none.

    `other_credentials`: the provider's other usable ones, best first; none where the choice names
    the credential to use.
    """

    provider: Provider
    model: Model
    credential: Credential | None
    other_credentials: tuple[Credential, ...] = ()
    choice: Choice = ANYTHING

    @property
    def key(self) -> str:
        """The same for whatever fails together: the model of a provider, by one credential."""
        name = self.credential.name if self.credential else self.choice.spec.credential
        return f"{self.model.name} {name}"

    def served_by(self) -> ServedBy:
        """As an answer or a record names it."""
        return ServedBy(
            self.provider.name,
            self.model.name,
            self.credential.name if self.credential else "",
            self.model.provider_model,
            model_config=self.choice.config.name if self.choice.config else "",
        )


def identified(served_by: ServedBy, provider_model: str, provider_request_id: str) -> ServedBy:
    """With what the provider says it ran, and calls the request; "": it does not say."""
    return ServedBy(
        served_by.provider,
        served_by.model,
        served_by.credential,
        provider_model or served_by.provider_model,
        provider_request_id or served_by.provider_request_id,
        served_by.model_config,
    )
