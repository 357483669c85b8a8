"""Which targets stored configurations make, with which credentials."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service.domain.completion import Attribution
from llm_service.domain.model_config import TargetSpec
from llm_service.errors import ModelNotFound, NoRoute, ProviderCredentialMissing
from llm_service.gateway.resolution import Asked, DefaultModel, Resolution, resolve
from llm_service.gateway.routing import Router
from tests.fakes import NOW, a_credential, a_model, a_model_config, a_provider
from tests.unit.test_routing import OPENAI, SPARE, a_view, names


def configured(view, *specs, **asked):
    view = replace(view, configs=({("", "", ""): a_model_config(targets=specs)},))
    asked = Asked(Attribution("default"), **asked)
    return Router().targets(view, resolve(view, asked, DefaultModel()))


def test_a_configured_credential_is_the_only_one_its_target_has():
    models = [a_model(OPENAI), a_model(SPARE)]
    keys = [a_credential(OPENAI), a_credential(SPARE), a_credential(SPARE, "agent")]
    view = a_view(OPENAI, SPARE, models=models, credentials=keys)

    (target,) = configured(view, TargetSpec("m", "providers/two/credentials/agent"))

    assert (target.provider, target.credential) == (SPARE, keys[2])
    assert target.other_credentials == ()


@pytest.mark.parametrize(
    "changes", [{"disabled": True}, {"expire_time": NOW - timedelta(days=1)}, None]
)
def test_a_configured_credential_that_cannot_be_used_has_no_other_stand_in_for_it(changes):
    keys = [a_credential(OPENAI)]
    if changes is not None:
        keys.append(a_credential(OPENAI, "agent", **changes))
    view = a_view(OPENAI, models=[a_model(OPENAI)], credentials=keys)

    (target,) = configured(view, TargetSpec("m", "providers/one/credentials/agent"))

    assert target.credential is None


def test_a_configured_credential_of_a_provider_that_does_not_serve_the_model_is_missing():
    view = a_view(OPENAI, SPARE, models=[a_model(OPENAI)])

    with pytest.raises(ProviderCredentialMissing):
        configured(view, TargetSpec("m", "providers/two/credentials/agent"))


def test_one_model_may_be_tried_with_an_agents_key_and_then_with_the_usual_one():
    usual = "providers/one/credentials/default"
    provider = replace(OPENAI, default_credential=usual)
    keys = [a_credential(provider), a_credential(provider, "agent")]
    view = a_view(provider, models=[a_model(provider)], credentials=keys)
    specs = TargetSpec("m", "providers/one/credentials/agent"), TargetSpec("m")

    chain = configured(view, *specs)

    assert [target.credential for target in chain] == [keys[1], keys[0]]


def test_configured_targets_that_cannot_serve_are_passed_over():
    off = a_provider("one", kind="openai-compatible", disabled=True)
    view = a_view(off, SPARE, models=[a_model(off, "a"), a_model(SPARE, "b")])

    assert names(configured(view, "a", "nobodys", "b")) == ["providers/two/models/b"]
    with pytest.raises(NoRoute, match="configured model"):
        configured(view, "nobodys")
    with pytest.raises(ModelNotFound):
        configured(view, "b", model="nobodys")


def test_embeddings_take_of_the_configured_targets_only_those_of_the_first_model():
    models = [a_model(OPENAI, "m"), a_model(OPENAI, "n"), a_model(SPARE, "m")]
    config = a_model_config(
        targets=("providers/one/models/m", "providers/one/models/n", "providers/two/models/m")
    )
    view = replace(a_view(OPENAI, SPARE, models=models), configs=({("", "", ""): config},))

    chain = Router().embedding_targets(
        view, resolve(view, Asked(Attribution("default")), DefaultModel())
    )

    assert names(chain) == ["providers/one/models/m", "providers/two/models/m"]
    with pytest.raises(NoRoute):
        Router().embedding_targets(view, Resolution())
