"""Model configurations, through the wire into a real database."""

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from llm_service.rpc.stubs import config_service_pb2 as pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs.generation_pb2 import GenerationParams, Reasoning, RoutingOptions
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import KEY, generation_of
from tests.rpc.provider_calls import created as created_provider

CODE = grpc.StatusCode
ACME = "tenants/acme"
NAME = f"{ACME}/modelConfigs/main"
CREDENTIAL = "providers/one/credentials/default"


async def created(service, config_id="main", parent=ACME, *, validate_only=False, **fields):
    answer = await service.configs.CreateModelConfig(
        pb.CreateModelConfigRequest(
            parent=parent,
            model_config_id=config_id,
            model_config=pb.ModelConfig(**fields),
            validate_only=validate_only,
        )
    )
    return answer.model_config


async def got(service, name=NAME):
    return (await service.configs.GetModelConfig(pb.GetModelConfigRequest(name=name))).model_config


async def updated(service, config, *paths, **request):
    answer = await service.configs.UpdateModelConfig(
        pb.UpdateModelConfigRequest(
            model_config=config, update_mask=FieldMask(paths=paths), **request
        )
    )
    return answer.model_config


async def listed(service, parent="tenants/acme", **request):
    return await service.configs.ListModelConfigs(
        pb.ListModelConfigsRequest(parent=parent, **request)
    )


def full() -> pb.ModelConfig:
    routing = RoutingOptions(
        fallback_models=["b"],
        disable_fallback=False,
        preference=RoutingOptions.PREFERENCE_COST,
        max_attempts=2,
        max_cost_nano_usd=5,
    )
    routing.first_token_timeout.FromMilliseconds(1500)
    return pb.ModelConfig(
        display_name="Risk",
        selector=pb.Selector(agent="risk", user="u.1", interaction="reasoning"),
        targets=[
            pb.Target(model="gpt-4o", params=GenerationParams(seed=0)),
            pb.Target(model="claude", fallback_reasons=["PROVIDER_RATE_LIMITED"]),
        ],
        params=GenerationParams(temperature=0, reasoning=Reasoning(effort=Reasoning.EFFORT_LOW)),
        limits=GenerationParams(max_output_tokens=100, reasoning=Reasoning(budget_tokens=5)),
        routing=routing,
        disabled=True,
        locked=True,
        labels={"team": "x"},
    )


async def test_a_configuration_is_read_as_it_was_written(service):
    answer = await service.configs.CreateModelConfig(
        pb.CreateModelConfigRequest(
            parent="tenants/acme", model_config_id="main", model_config=full()
        )
    )

    stored = answer.model_config
    assert (stored.name, stored.etag) == (NAME, '"1"')
    assert stored.create_time == stored.update_time
    assert stored == await got(service)
    assert stored.state == pb.ModelConfig.STATE_DISABLED
    for output in ("name", "etag", "create_time", "update_time", "state"):
        stored.ClearField(output)
    assert stored == full()


async def test_a_configuration_of_everybody_has_no_tenant_in_its_name(service):
    stored = await created(service, parent="", config_id="default")

    assert stored.name == "modelConfigs/default"


async def test_an_id_and_a_selector_are_taken_once_for_each_owner(service):
    await created(service, selector=pb.Selector(agent="a"))

    same_id = await refusal(created(service))
    same_selector = await refusal(created(service, "other", selector=pb.Selector(agent="a")))

    assert (same_id.code, same_id.reason) == (CODE.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert "selector" in same_selector.text
    await created(service, "other", parent="", selector=pb.Selector(agent="a"))


WRONG = [
    ({"selector": pb.Selector(agent="not allowed")}, "selector.agent"),
    ({"params": GenerationParams(temperature=3)}, "params.temperature"),
    ({"limits": GenerationParams(max_output_tokens=0)}, "limits.max_output_tokens"),
    ({"limits": GenerationParams(seed=1)}, "limits.seed"),
    ({"limits": GenerationParams(stop_sequences=["x"])}, "limits.stop_sequences"),
    (
        {"limits": GenerationParams(reasoning=Reasoning(effort=Reasoning.EFFORT_LOW))},
        "limits.reasoning.effort",
    ),
    ({"routing": RoutingOptions(max_attempts=99)}, "routing.max_attempts"),
    ({"labels": {"": "x"}}, "labels"),
    ({"display_name": "x" * 257}, "display_name"),
    ({"targets": [pb.Target(model=f"m{n}") for n in range(17)]}, "targets"),
    ({"targets": [pb.Target()]}, "targets[0].model"),
    ({"targets": [pb.Target(model="tenants/o/providers/p/models/m")]}, "targets[0].model"),
    ({"targets": [pb.Target(model="m", credential="c")]}, "targets[0].credential"),
    (
        {"targets": [pb.Target(model="m", credential="tenants/o/providers/p/credentials/c")]},
        "targets[0].credential",
    ),
    (
        {"targets": [pb.Target(model="m", credential="providers/p/credentials/none")]},
        "targets[0].credential",
    ),
    (
        {
            "targets": [
                pb.Target(model="providers/one/models/m", credential="providers/p/credentials/c")
            ]
        },
        "targets[0].credential",
    ),
    (
        {"targets": [pb.Target(model="m", fallback_reasons=["INVALID_FIELD"])]},
        "targets[0].fallback_reasons",
    ),
    (
        {"targets": [pb.Target(model="m", fallback_reasons=["PROVIDER_TIMEOUT"] * 2)]},
        "targets[0].fallback_reasons",
    ),
]


async def test_what_is_wrong_is_named_and_nothing_is_stored(service):
    refused = [await refusal(created(service, **fields)) for fields, _ in WRONG]

    assert {(one.code, one.reason) for one in refused} == {(CODE.INVALID_ARGUMENT, "INVALID_FIELD")}
    assert [one.fields for one in refused] == [(f"model_config.{named}",) for _, named in WRONG]
    assert not (await listed(service)).model_configs


async def test_a_bad_request_names_all_that_is_wrong(service):
    request = pb.CreateModelConfigRequest(
        parent="acme",
        model_config_id="Not An Id",
        model_config=pb.ModelConfig(selector=pb.Selector(user=" ")),
        request_id="once",
    )

    refused = await refusal(service.configs.CreateModelConfig(request))

    assert refused.fields == (
        "request_id",
        "parent",
        "model_config_id",
        "model_config.selector.user",
    )


async def test_a_target_may_name_a_credential_of_its_provider(service):
    await created_provider(service, kind="openai", key=KEY)
    target = pb.Target(model="gpt-4o", credential=CREDENTIAL)

    stored = await created(service, targets=[target])

    assert stored.targets[0] == target


async def test_what_is_only_validated_is_not_stored(service):
    before = await generation_of(service, "acme")

    checked = await created(service, validate_only=True)
    refused = await refusal(created(service, validate_only=True, limits=GenerationParams(seed=1)))

    assert checked.name == NAME
    assert refused.reason == "INVALID_FIELD"
    assert not (await listed(service)).model_configs
    assert await generation_of(service, "acme") == before


async def test_validating_finds_what_is_taken(service):
    await created(service)

    refused = await refusal(created(service, "two", validate_only=True))

    assert refused.reason == "ALREADY_EXISTS"


async def test_an_update_changes_what_its_mask_names(service):
    await service.configs.CreateModelConfig(
        pb.CreateModelConfigRequest(
            parent="tenants/acme", model_config_id="main", model_config=full()
        )
    )

    changed = await updated(
        service,
        pb.ModelConfig(name=NAME, targets=[pb.Target(model="x")], display_name="ignored"),
        "targets",
        "params.temperature",
        "selector.user",
    )

    assert [target.model for target in changed.targets] == ["x"]
    assert not changed.params.HasField("temperature")
    assert changed.params.reasoning.effort == Reasoning.EFFORT_LOW
    assert (changed.selector.agent, changed.selector.user) == ("risk", "")
    assert (changed.display_name, changed.etag) == ("Risk", '"2"')
    assert changed == await got(service)


async def test_an_update_needs_a_current_etag_if_it_sends_one(service):
    await created(service)
    await updated(service, pb.ModelConfig(name=NAME, locked=True, etag='"1"'))

    stale = await refusal(updated(service, pb.ModelConfig(name=NAME, disabled=True, etag='"1"')))

    assert (stale.code, stale.reason) == (CODE.ABORTED, "ETAG_MISMATCH")
    assert not (await got(service)).disabled


async def test_an_update_cannot_take_a_selector(service):
    await created(service)
    await created(service, "two", selector=pb.Selector(agent="a"))

    taken = await refusal(updated(service, pb.ModelConfig(name=NAME, selector={"agent": "a"})))

    assert taken.reason == "ALREADY_EXISTS"


async def test_an_unknown_path_is_refused(service):
    await created(service)

    refused = await refusal(updated(service, pb.ModelConfig(name=NAME), "displayName"))

    assert refused.fields == ("update_mask",)


async def test_an_update_may_create_what_is_missing_with_all_that_is_populated(service):
    config = pb.ModelConfig(name=NAME, display_name="new", locked=True)

    missing = await refusal(updated(service, config, "locked"))
    made = await updated(service, config, "locked", allow_missing=True)
    again = await updated(service, config, "locked", allow_missing=True)

    assert (missing.code, missing.reason) == (CODE.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert (made.display_name, made.locked, made.etag) == ("new", True, '"1"')
    assert again.etag == '"2"'


async def test_a_validated_update_changes_nothing(service):
    await created(service)

    checked = await updated(service, pb.ModelConfig(name=NAME, locked=True), validate_only=True)

    assert checked.locked
    assert not (await got(service)).locked


async def test_a_credential_that_went_since_it_was_named_may_stay_named(service):
    await created_provider(service, kind="openai", key=KEY)
    await created(service, targets=[pb.Target(model="gpt-4o", credential=CREDENTIAL)])
    await service.admin.DeleteCredential(admin_pb.DeleteCredentialRequest(name=CREDENTIAL))

    changed = await updated(service, pb.ModelConfig(name=NAME, disabled=True))

    assert changed.targets[0].credential == CREDENTIAL


async def test_a_deleted_configuration_is_gone(service):
    await created(service)

    stale = await refusal(
        service.configs.DeleteModelConfig(pb.DeleteModelConfigRequest(name=NAME, etag='"7"'))
    )
    await service.configs.DeleteModelConfig(pb.DeleteModelConfigRequest(name=NAME, etag='"1"'))
    gone = await refusal(service.configs.DeleteModelConfig(pb.DeleteModelConfigRequest(name=NAME)))
    await service.configs.DeleteModelConfig(
        pb.DeleteModelConfigRequest(name=NAME, allow_missing=True)
    )

    assert stale.reason == "ETAG_MISMATCH"
    assert gone.reason == "RESOURCE_NOT_FOUND"
    assert (await refusal(got(service))).reason == "RESOURCE_NOT_FOUND"


async def test_a_name_that_is_none_is_refused(service):
    for name in ("", "main", "modelConfigs/", "modelConfigs/A", "x/modelConfigs/a"):
        assert (await refusal(got(service, name))).fields == ("name",)


async def test_lists_are_filtered_ordered_and_paged(service):
    for agent in ("c", "a", "b"):
        await created(service, f"of-{agent}", selector=pb.Selector(agent=agent))
    await created(service, "shared", parent="")

    async def ids(**request):
        answer = await listed(service, **request)
        names = [config.name.rpartition("/")[2] for config in answer.model_configs]
        return names, answer.next_page_token

    first, token = await ids(page_size=2, order_by="selector.agent desc")
    rest, end = await ids(page_size=2, order_by="selector.agent desc", page_token=token)
    assert (first, rest, end) == (["of-c", "of-b"], ["of-a"], "")
    assert (await ids(filter='selector.agent = "b" AND disabled = false'))[0] == ["of-b"]
    assert (await ids(parent="tenants/-"))[0] == ["shared", "of-a", "of-b", "of-c"]
    assert (await ids(parent=""))[0] == ["shared"]


async def test_a_list_that_cannot_be_is_refused(service):
    for wrong in (
        {"filter": 'targets = "x"'},
        {"order_by": "labels"},
        {"page_token": "x"},
        {"page_size": -1},
    ):
        assert (await refusal(listed(service, **wrong))).fields == tuple(wrong)


async def test_every_change_tells_the_replicas(service):
    before = await generation_of(service, "acme")

    await created(service)
    await updated(service, pb.ModelConfig(name=NAME, locked=True))
    await service.configs.DeleteModelConfig(pb.DeleteModelConfigRequest(name=NAME))

    assert await generation_of(service, "acme") == before + 3
