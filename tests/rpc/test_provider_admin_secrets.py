"""A provider's secret stays unseen, and at the origin it was entered for."""

import json
from dataclasses import replace

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from llm_service import providers as kinds
from llm_service.gateway.manager import binding
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider
from tests.rpc.administered import administered, as_text, refusal
from tests.rpc.provider_calls import KEY, created, credentials_of, got, updated

CODE = grpc.StatusCode


async def test_a_provider_may_bring_its_credential(service):
    provider = await created(service, kind="openai", key=KEY)

    assert provider.default_credential == "providers/one/credentials/default"
    assert provider.state == Provider.STATE_ACTIVE
    (credential,) = await credentials_of(service, "providers/one")
    assert credential.secret_set
    assert credential.obfuscated_secret == "sk-proj-...tail"


@pytest.mark.parametrize(
    ("base_uri", "kept"),
    [
        pytest.param("https://api.openai.com/other", True, id="other-path"),
        pytest.param("https://API.openai.com:443/v1", True, id="same-origin-spelled-otherwise"),
        pytest.param("https://evil.example/v1", False, id="other-host"),
        pytest.param("http://127.0.0.1:9999/v1", False, id="other-scheme-and-port"),
    ],
)
async def test_a_secret_does_not_follow_its_provider_to_another_origin(service, base_uri, kept):
    await created(service, kind="openai", key=KEY)

    changed = await updated(service, Provider(name="providers/one", base_uri=base_uri))

    (credential,) = await credentials_of(service, "providers/one")
    assert credential.origin == "https://api.openai.com:443"
    if kept:
        assert credential.state == Credential.STATE_ACTIVE
        return
    assert changed.state == Provider.STATE_NEEDS_CREDENTIAL
    assert credential.state == Credential.STATE_NEEDS_CREDENTIAL
    await service.admin.UpdateCredential(
        pb.UpdateCredentialRequest(
            credential=Credential(name=credential.name, disabled=False),
            update_mask=FieldMask(paths=["disabled", "state"]),
        )
    )
    assert (await got(service, "providers/one")).state == Provider.STATE_NEEDS_CREDENTIAL


async def test_a_secret_is_usable_again_where_it_was_entered_for(service):
    await created(service, kind="openai", key=KEY)
    await updated(service, Provider(name="providers/one", base_uri="https://evil.example/v1"))

    back = await updated(service, Provider(name="providers/one"), "base_uri")

    assert back.state == Provider.STATE_ACTIVE
    (credential,) = await credentials_of(service, "providers/one")
    assert credential.state == Credential.STATE_ACTIVE


async def test_a_pointer_does_not_follow_its_provider_either(service):
    await created(service, kind="openai")
    await service.admin.CreateCredential(
        pb.CreateCredentialRequest(
            parent="providers/one",
            credential_id="pointer",
            credential=Credential(environment_variable="OPENAI_API_KEY"),
        )
    )

    changed = await updated(
        service, Provider(name="providers/one", base_uri="https://evil.example/v1")
    )

    (credential,) = await credentials_of(service, "providers/one")
    assert credential.state == Credential.STATE_NEEDS_CREDENTIAL
    assert changed.state == Provider.STATE_NEEDS_CREDENTIAL


async def test_a_secret_older_than_the_binding_is_bound_when_its_provider_moves(service):
    await created(service, kind="openai", key=KEY)
    await unbound(service)

    assert (await got(service, "providers/one")).state == Provider.STATE_ACTIVE
    moved = await updated(
        service, Provider(name="providers/one", base_uri="https://evil.example/v1")
    )
    back = await updated(service, Provider(name="providers/one"), "base_uri")

    assert moved.state == Provider.STATE_NEEDS_CREDENTIAL
    assert back.state == Provider.STATE_ACTIVE
    async with service.database.read() as tx:
        provider = await tx.providers.get("", "one")
        (stored,) = await tx.credentials.of_provider(provider.uid)
    assert stored.origin == "https://api.openai.com:443"
    assert service.vault.open(stored.sealed, binding(provider, stored)) == KEY


async def unbound(service):
    """Seal the provider's secret as it was before secrets were bound to an origin."""
    async with service.database.begin() as tx:
        provider = await tx.providers.get("", "one")
        (stored,) = await tx.credentials.of_provider(provider.uid)
        old = replace(stored, origin="")
        old = replace(old, sealed=service.vault.seal(KEY, binding(provider, old)))
        await tx.credentials.update(old, stored.version)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        pytest.param({"resource": "ours", "deployment": "fast"}, True, id="same-resource"),
        pytest.param({"resource": "ours", "api_version": "2024-10-21"}, True, id="other-version"),
        pytest.param({"resource": "theirs"}, False, id="other-resource"),
        pytest.param({"region": "eastus"}, False, id="a-region-instead"),
        pytest.param(
            {"resource": "ours", "authority": "https://login.microsoftonline.us"},
            False,
            id="other-authority",
        ),
    ],
)
async def test_a_secret_does_not_follow_settings_that_lead_elsewhere(service, settings, kept):
    await created(service, kind="azure", settings={"resource": "ours"}, key=KEY)

    changed = await updated(service, Provider(name="providers/one", settings=settings), "settings")

    (credential,) = await credentials_of(service, "providers/one")
    assert (credential.state == Credential.STATE_ACTIVE) is kept
    assert (changed.state == Provider.STATE_NEEDS_CREDENTIAL) is not kept


@pytest.mark.parametrize("kind", [*kinds.kinds()])
def test_the_settings_that_decide_an_address_are_settings_of_the_kind(kind):
    known = kinds.provider_kind(kind)

    assert set(known.address_settings) <= set(json.loads(known.settings_schema_json)["properties"])


async def test_an_origin_change_that_is_only_validated_keeps_the_secret(service):
    await created(service, kind="openai", key=KEY)

    await updated(
        service,
        Provider(name="providers/one", base_uri="https://evil.example/v1"),
        validate_only=True,
    )

    (credential,) = await credentials_of(service, "providers/one")
    assert credential.state == Credential.STATE_ACTIVE


async def test_a_secret_entered_after_the_origin_changed_is_usable(service):
    await created(service, kind="openai", key=KEY)
    await updated(service, Provider(name="providers/one", base_uri="https://new.example/v1"))

    await service.admin.RotateCredential(
        pb.RotateCredentialRequest(
            name="providers/one/credentials/default", credential=Credential(api_key=KEY)
        )
    )

    assert (await got(service, "providers/one")).state == Provider.STATE_ACTIVE


async def test_a_secret_cannot_be_kept_without_a_key_ring(database_url):
    async with administered(database_url, keyring=False) as service:
        refused = await refusal(created(service, kind="openai", key=KEY))
        missing = await refusal(got(service, "providers/one"))

    assert refused.code is CODE.FAILED_PRECONDITION
    assert refused.reason == "ENCRYPTION_KEY_MISSING"
    assert missing.code is CODE.NOT_FOUND
    assert "canary" not in refused.text


async def test_no_answer_shows_the_secret(service):
    provider = await created(service, kind="openai", key=KEY)

    listed = await service.admin.ListProviders(pb.ListProvidersRequest())

    assert "canary" not in as_text(provider) + as_text(listed)
