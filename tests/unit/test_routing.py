"""Which targets may serve a call, and in which order."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service import catalog
from llm_service.domain.completion import Attribution, RoutingOptions
from llm_service.domain.content import Modality, Text
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import EmbeddingInfo, SourceType
from llm_service.errors import ModelNotFound, NoRoute, ProviderDisabled
from llm_service.gateway.configuration import Owned, view_of
from llm_service.gateway.resolution import Asked, DefaultModel, resolve
from llm_service.gateway.routing import Router
from tests.fakes import (
    NOW,
    a_credential,
    a_model,
    a_provider,
    a_request,
)

OPENAI = a_provider("one", kind="openai-compatible")
SPARE = a_provider("two", kind="openai-compatible")


def a_view(*providers, models=(), credentials=(), tenant="default", own=()):
    def owned(owners):
        uids = {p.uid for p in owners}
        names = {p.name for p in owners}
        return Owned(
            tuple(owners),
            {uid: tuple(c for c in credentials if c.provider_uid == uid) for uid in uids},
            {name: tuple(m for m in models if m.provider_name == name) for name in names},
        )

    return view_of(1, owned(providers), owned(own), tenant)


def targets(view, request, default):
    asked = Asked(request.attribution, request.model, request.params, request.routing)
    return Router().targets(view, resolve(view, asked, DefaultModel(default)))


def embedding_targets(view, request):
    asked = Asked(request.attribution, request.model, routing=request.routing)
    return Router().embedding_targets(view, resolve(view, asked, DefaultModel()))


def names(chain):
    return [target.model.name for target in chain]


@pytest.mark.parametrize("asked", ["m", "upstream/M:1", "fast", "providers/one/models/m"])
def test_a_model_answers_to_its_id_its_upstream_id_its_aliases_and_its_name(asked):
    model = a_model(OPENAI, "m", provider_model="upstream/M:1", aliases=("fast",))

    chain = targets(a_view(OPENAI, models=[model]), a_request(asked), "")

    assert names(chain) == ["providers/one/models/m"]
    assert chain[0].model.provider_model == "upstream/M:1"


def test_a_built_in_model_of_an_enabled_provider_is_served_without_a_row():
    chain = targets(a_view(a_provider("e", kind="echo")), a_request("echo-1"), "")

    assert names(chain) == ["providers/e/models/echo-1"]


def test_a_model_nobody_listed_works_when_its_provider_is_named():
    chain = targets(a_view(OPENAI), a_request("providers/one/models/Org/New:free"), "")

    assert chain[0].model.provider_model == "Org/New:free"


def test_a_release_nobody_listed_has_every_fact_of_the_model_it_is_one_of():
    openai = a_provider("o", kind="openai")
    known = catalog.facts("openai", "text-embedding-3-small")

    (target,) = targets(
        a_view(openai), a_request("providers/o/models/text-embedding-3-small-2026-02-01"), ""
    )

    model = target.model
    assert model.name == "providers/o/models/text-embedding-3-small-2026-02-01"
    assert model.provider_model == "text-embedding-3-small-2026-02-01"
    assert model.aliases == ()
    assert model.embedding == known.embedding is not None
    assert model.input_modalities == known.input_modalities == (Modality.TEXT,)
    assert model.output_modalities == known.output_modalities


@pytest.mark.parametrize(
    "asked",
    [
        "nothing",
        "providers/none/models/m",
        "providers/one/models/",
        "tenants/x/providers/one/models/m",
    ],
)
def test_a_model_nobody_serves_is_not_found(asked):
    with pytest.raises(ModelNotFound):
        targets(a_view(OPENAI), a_request(asked), "")


def test_another_tenants_provider_looks_like_none():
    theirs = a_provider("one", kind="openai-compatible", tenant="theirs")
    view = a_view(tenant="mine")

    with pytest.raises(ModelNotFound):
        targets(view, a_request(f"{theirs.name}/models/m"), "")


def test_a_disabled_provider_is_named_in_the_refusal():
    off = replace(OPENAI, disabled=True)

    with pytest.raises(ProviderDisabled, match="providers/one is disabled"):
        targets(a_view(off, models=[a_model(off)]), a_request("m"), "")


def test_a_disabled_model_is_passed_over_while_another_serves_the_name():
    models = [a_model(OPENAI, disabled=True), a_model(SPARE)]

    chain = targets(a_view(OPENAI, SPARE, models=models), a_request("m"), "")

    assert names(chain) == ["providers/two/models/m"]


def test_without_a_model_the_default_serves():
    chain = targets(a_view(OPENAI, models=[a_model(OPENAI)]), a_request(""), "m")

    assert names(chain) == ["providers/one/models/m"]


@pytest.mark.parametrize("default", ["", "gone"])
def test_without_a_model_and_a_served_default_there_is_no_route(default):
    with pytest.raises(NoRoute):
        targets(a_view(OPENAI), a_request(""), default)


def test_lower_priority_comes_first_and_the_models_own_wins_over_its_providers():
    first = replace(OPENAI, priority=10)
    second = replace(SPARE, priority=50)
    models = [a_model(first, priority=60), a_model(second)]

    chain = targets(a_view(first, second, models=models), a_request("m"), "")

    assert names(chain) == ["providers/two/models/m", "providers/one/models/m"]


def test_fallback_models_follow_in_order_and_nobody_is_tried_twice():
    models = [a_model(OPENAI, "a"), a_model(SPARE, "b")]
    request = a_request("a", routing=RoutingOptions(fallback_models=("b", "a")))

    chain = targets(a_view(OPENAI, SPARE, models=models), request, "")

    assert names(chain) == ["providers/one/models/a", "providers/two/models/b"]


@pytest.mark.parametrize(
    ("options", "length"),
    [
        pytest.param(RoutingOptions(disable_fallback=True), 1, id="disabled"),
        pytest.param(RoutingOptions(max_attempts=2), 16, id="limited"),
        pytest.param(RoutingOptions(), 16, id="default"),
    ],
)
def test_the_chain_goes_beyond_the_attempts_for_targets_that_are_refused_before_one(
    options, length
):
    providers = [a_provider(f"p{n}", kind="openai-compatible") for n in range(20)]
    models = [a_model(provider) for provider in providers]

    chain = targets(a_view(*providers, models=models), a_request("m", routing=options), "")

    assert len(chain) == length


@pytest.mark.parametrize("fallback", ["b", "nobody-serves-this"])
def test_a_fallback_that_cannot_serve_is_passed_over(fallback):
    off = replace(SPARE, disabled=True)
    view = a_view(OPENAI, off, models=[a_model(OPENAI, "a"), a_model(off, "b")])
    request = a_request("a", routing=RoutingOptions(fallback_models=(fallback,)))

    assert names(targets(view, request, "")) == ["providers/one/models/a"]


def test_a_fallback_serves_when_the_first_choice_is_disabled():
    off = replace(OPENAI, disabled=True)
    view = a_view(off, SPARE, models=[a_model(off, "a"), a_model(SPARE, "b")])

    chain = targets(view, a_request("a", routing=RoutingOptions(fallback_models=("b",))), "")

    assert names(chain) == ["providers/two/models/b"]
    with pytest.raises(ProviderDisabled):
        targets(view, a_request("a", routing=RoutingOptions(fallback_models=("c",))), "")


def test_an_unknown_first_choice_is_the_callers_mistake_whatever_the_fallbacks():
    view = a_view(SPARE, models=[a_model(SPARE, "b")])

    with pytest.raises(ModelNotFound):
        targets(view, a_request("a", routing=RoutingOptions(fallback_models=("b",))), "")


def test_only_allowed_and_not_excluded_providers_serve():
    models = [a_model(OPENAI), a_model(SPARE)]
    view = a_view(OPENAI, SPARE, models=models)
    only = RoutingOptions(allowed_providers=("providers/two",))
    neither = RoutingOptions(excluded_providers=("providers/one", "providers/two"))

    assert names(targets(view, a_request("m", routing=only), "")) == ["providers/two/models/m"]
    with pytest.raises(NoRoute):
        targets(view, a_request("m", routing=neither), "")


def test_equal_priorities_share_by_weight():
    heavy, light = replace(OPENAI, weight=3), replace(SPARE, weight=1)
    view = a_view(heavy, light, models=[a_model(heavy), a_model(light)])

    firsts = Counter(names(targets(view, a_request("m"), ""))[0] for _ in range(4000))

    assert 0.70 < firsts["providers/one/models/m"] / 4000 < 0.80


def test_an_affinity_key_always_meets_the_same_target():
    view = a_view(OPENAI, SPARE, models=[a_model(OPENAI), a_model(SPARE)])
    by_key = {
        key: {
            names(targets(view, a_request("m", routing=RoutingOptions(affinity_key=key)), ""))[0]
            for _ in range(20)
        }
        for key in map(str, range(40))
    }

    assert all(len(met) == 1 for met in by_key.values())
    assert len(set.union(*by_key.values())) == 2


def test_the_default_credential_is_used_while_it_is_usable():
    default, other = a_credential(OPENAI, "main"), a_credential(OPENAI, "other")
    provider = replace(OPENAI, default_credential=default.name)
    model = a_model(provider)

    for credentials, expected in [
        ((default, other), "main"),
        ((replace(default, disabled=True), other), "other"),
        ((replace(default, rejected=True), other), "other"),
        ((replace(default, expire_time=NOW - timedelta(days=365)), other), "other"),
    ]:
        chain = targets(
            a_view(provider, models=[model], credentials=credentials), a_request("m"), ""
        )
        assert chain[0].credential.credential_id == expected


def test_the_keys_of_a_pool_share_the_calls_by_weight():
    keys = [a_credential(OPENAI, f"w{weight}", weight=weight) for weight in (3, 1, 0)]
    away = a_credential(OPENAI, "away", weight=9, disabled=True)
    view = a_view(OPENAI, models=[a_model(OPENAI)], credentials=[*keys, away])

    firsts = Counter(
        targets(view, a_request("m"), "")[0].credential.credential_id for _ in range(4000)
    )

    assert firsts.keys() == {"w3", "w1"}
    assert 0.70 < firsts["w3"] / 4000 < 0.80


def test_one_caller_keeps_to_one_key_of_a_pool():
    keys = [a_credential(OPENAI, name) for name in ("a", "b", "c")]
    view = a_view(OPENAI, models=[a_model(OPENAI)], credentials=keys)

    met = {
        asked: {targets(view, request(asked), "")[0].credential.credential_id for _ in range(20)}
        for asked in map(str, range(30))
    }

    assert all(len(names) == 1 for names in met.values())
    assert set.union(*met.values()) == {"a", "b", "c"}


def request(affinity_key):
    return a_request("m", routing=RoutingOptions(affinity_key=affinity_key))


def test_a_key_entered_for_another_address_is_passed_over():
    here = a_credential(OPENAI, "here")
    elsewhere = a_credential(OPENAI, "elsewhere", origin="https://old.example:443")
    view = a_view(OPENAI, models=[a_model(OPENAI)], credentials=[elsewhere, here])

    (target,) = targets(view, a_request("m"), "")

    assert target.credential is here
    assert target.other_credentials == ()


def test_rejected_credentials_are_tried_when_there_are_no_others():
    hopeful = a_credential(OPENAI, "hopeful", rejected=True)
    cleared = a_credential(
        OPENAI, "cleared", source_type=SourceType.API_KEY, reference="", rejected=True
    )
    view = a_view(OPENAI, models=[a_model(OPENAI)], credentials=[cleared, hopeful])

    (target,) = targets(view, a_request("m"), "")

    assert target.credential is hopeful
    assert target.other_credentials == ()


def test_a_provider_without_a_usable_credential_is_tried_without_one():
    chain = targets(a_view(OPENAI, models=[a_model(OPENAI)]), a_request("m"), "")

    assert chain[0].credential is None


# --- embeddings -----------------------------------------------------------------------------------


def embedding(model, **routing):
    return EmbeddingRequest(
        model, (Text("a"),), Attribution("default"), routing=RoutingOptions(**routing)
    )


def test_one_model_at_several_providers_is_a_chain_of_embeddings():
    models = [a_model(p, "m", provider_model="upstream/M") for p in (OPENAI, SPARE)]

    chain = embedding_targets(a_view(OPENAI, SPARE, models=models), embedding("m"))

    assert sorted(names(chain)) == ["providers/one/models/m", "providers/two/models/m"]
    alone = embedding("m", disable_fallback=True)
    assert len(embedding_targets(a_view(OPENAI, SPARE, models=models), alone)) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"provider_model": "A"}, {"provider_model": "B"}, id="models"),
        pytest.param(
            {"embedding": EmbeddingInfo(256)}, {"embedding": EmbeddingInfo(512)}, id="lengths"
        ),
        pytest.param(
            {"embedding": EmbeddingInfo(vector_space="A")},
            {"embedding": EmbeddingInfo(vector_space="B")},
            id="spaces",
        ),
        pytest.param(
            {"provider_model": "A", "embedding": EmbeddingInfo(256)},
            {"provider_model": "B", "embedding": EmbeddingInfo(512, vector_space="A")},
            id="lengths in one space",
        ),
    ],
)
def test_a_name_that_stands_for_different_vectors_embeds_nothing(first, second):
    models = [a_model(OPENAI, "m", **first), a_model(SPARE, "m", **second)]

    with pytest.raises(NoRoute) as failure:
        embedding_targets(a_view(OPENAI, SPARE, models=models), embedding("m", max_attempts=1))

    assert failure.value.metadata == {"model": "m"}


def test_one_model_under_two_names_is_a_chain_where_its_operator_says_so():
    deployed = EmbeddingInfo(1536, vector_space="text-embedding-3-small")
    models = [
        a_model(OPENAI, "m", provider_model="text-embedding-3-small"),
        a_model(SPARE, "m", provider_model="our-deployment", embedding=deployed),
    ]

    chain = embedding_targets(a_view(OPENAI, SPARE, models=models), embedding("m"))

    assert len(chain) == 2


def test_a_provider_named_by_the_caller_settles_which_model_embeds():
    models = [a_model(OPENAI, "m", provider_model="A"), a_model(SPARE, "m", provider_model="B")]
    view = a_view(OPENAI, SPARE, models=models)

    chain = embedding_targets(view, embedding("m", allowed_providers=("providers/two",)))

    assert names(chain) == ["providers/two/models/m"]


def test_the_other_keys_of_a_provider_are_at_hand_in_order_of_weight():
    keys = [a_credential(OPENAI, name, weight=w) for name, w in (("none", 0), ("all", 1))]
    view = a_view(OPENAI, models=[a_model(OPENAI)], credentials=keys)

    (target,) = targets(view, a_request("m"), "")

    assert target.credential.credential_id == "all"
    assert [c.credential_id for c in target.other_credentials] == ["none"]
