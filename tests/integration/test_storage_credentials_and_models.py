from dataclasses import replace

import pytest

from llm_service.domain.listing import Comparison, Listing, Operator
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import AlreadyExists, EtagMismatch, InvalidField, ResourceNotFound
from tests.integration.samples import (
    NOW,
    a_credential,
    a_full_credential,
    a_full_model,
    a_model,
    a_provider,
)


@pytest.fixture
async def provider(database):
    provider = a_provider()
    async with database.begin() as tx:
        await tx.providers.add(provider)
    return provider


async def test_a_credential_comes_back_as_it_was_stored(database, provider):
    plain, full = a_credential(provider, "plain"), a_full_credential(provider)

    async with database.begin() as tx:
        await tx.credentials.add(full)
        await tx.credentials.add(plain)

    async with database.read() as tx:
        assert await tx.credentials.get(provider.uid, "default") == full
        assert await tx.credentials.of_provider(provider.uid) == (full, plain)
        assert (await tx.credentials.list(provider.uid, Listing(1))).items == (full,)
        assert await tx.credentials.of_tenant("acme") == (full, plain)


async def test_a_sealed_secret_is_in_no_repr(provider):
    assert "sealed:x" not in repr(a_full_credential(provider))


async def test_a_model_comes_back_as_it_was_stored(database, provider):
    plain, full = a_model(provider, "plain"), a_full_model(provider)

    async with database.begin() as tx:
        await tx.models.add(provider.uid, full)
        await tx.models.add(provider.uid, plain)

    async with database.read() as tx:
        assert await tx.models.get(provider.uid, "gpt") == full
        assert await tx.models.of_tenant("acme") == (full, plain)
        assert (await tx.models.list(["acme"], Listing(1))).items == (full,)


async def test_a_second_credential_or_model_of_one_id_is_refused(database, provider):
    async with database.begin() as tx:
        await tx.credentials.add(a_credential(provider))
        await tx.models.add(provider.uid, a_model(provider))

        with pytest.raises(AlreadyExists):
            await tx.credentials.add(a_credential(provider))
        with pytest.raises(AlreadyExists):
            await tx.models.add(provider.uid, a_model(provider))


async def test_a_credential_or_model_of_no_provider_is_refused(database):
    nobody = a_provider("nobody")

    with pytest.raises(ResourceNotFound):
        async with database.begin() as tx:
            await tx.credentials.add(a_credential(nobody))
    with pytest.raises(ResourceNotFound):
        async with database.begin() as tx:
            await tx.models.add(nobody.uid, a_model(nobody))


async def test_a_credential_changes_only_from_the_version_that_was_read(database, provider):
    credential = a_credential(provider)
    async with database.begin() as tx:
        await tx.credentials.add(credential)

    async with database.begin() as tx:
        updated = await tx.credentials.update(replace(credential, sealed="new"), 1)
        assert updated == replace(credential, sealed="new", version=2)
        assert await tx.credentials.get(provider.uid, "default", for_update=True) == updated
        with pytest.raises(EtagMismatch):
            await tx.credentials.update(credential, 1)
        with pytest.raises(EtagMismatch):
            await tx.credentials.delete(credential.uid, 1)
        await tx.credentials.delete(credential.uid, 2)
        with pytest.raises(ResourceNotFound):
            await tx.credentials.get(provider.uid, "default")
        with pytest.raises(ResourceNotFound):
            await tx.credentials.delete(credential.uid)
        with pytest.raises(ResourceNotFound):
            await tx.credentials.update(credential, 2)


async def test_a_model_changes_only_from_the_version_that_was_read(database, provider):
    model = a_model(provider)
    async with database.begin() as tx:
        await tx.models.add(provider.uid, model)

    async with database.begin() as tx:
        updated = await tx.models.update(provider.uid, replace(model, aliases=("a",)), 1)
        assert updated == replace(model, aliases=("a",), version=2)
        assert await tx.models.get(provider.uid, "gpt", for_update=True) == updated
        with pytest.raises(EtagMismatch):
            await tx.models.update(provider.uid, model, 1)
        with pytest.raises(EtagMismatch):
            await tx.models.delete(provider.uid, "gpt", 1)
        await tx.models.delete(provider.uid, "gpt")
        with pytest.raises(ResourceNotFound):
            await tx.models.get(provider.uid, "gpt")


async def test_no_tenant_reaches_anothers_credentials_and_models(database, provider):
    theirs, shared = a_provider(tenant="rival"), a_provider(tenant="")
    async with database.begin() as tx:
        await tx.providers.add(theirs)
        await tx.providers.add(shared)
        for each in (provider, theirs, shared):
            await tx.credentials.add(a_credential(each))
            await tx.models.add(each.uid, a_model(each))

    async with database.read() as tx:
        (credential,) = await tx.credentials.of_tenant("acme")
        (model,) = await tx.models.of_tenant("acme")
        listed = await tx.models.list(["acme", ""], Listing(9))
        narrowed = await tx.models.list(["acme"], Listing(9), provider_uid=theirs.uid)
        (only,) = (await tx.credentials.list(provider.uid, Listing(9))).items

    assert credential.provider_name == only.provider_name == "tenants/acme/providers/main"
    assert model.provider_name == "tenants/acme/providers/main"
    assert [item.provider_name for item in listed.items] == [shared.name, provider.name]
    assert narrowed.items == ()


async def test_what_is_under_a_deleted_provider_is_in_no_snapshot(database, provider):
    async with database.begin() as tx:
        await tx.credentials.add(a_credential(provider))
        await tx.models.add(provider.uid, a_model(provider))
        await tx.providers.update(replace(provider, delete_time=NOW), 1)

    async with database.read() as tx:
        assert await tx.credentials.of_tenant("acme") == ()
        assert await tx.models.of_tenant("acme") == ()
        assert (await tx.models.list(["acme"], Listing(9))).items == ()


FOUND = [
    ("capabilities.tools", Operator.EQ, True, {"able"}),
    ("capabilities.tools", Operator.EQ, False, {"unable"}),
    ("capabilities.tools", Operator.NE, True, {"unable", "unknown"}),
    ("aliases", Operator.HAS, "fast", {"able"}),
    ("aliases", Operator.HAS, "fas", set()),
    ("input_modalities", Operator.HAS, "MODALITY_IMAGE", {"able"}),
    ("input_modalities", Operator.HAS, "image", {"able"}),
    ("stage", Operator.EQ, "STABLE", {"able"}),
    ("stage", Operator.NE, "STAGE_STABLE", {"unable", "unknown"}),
    ("context_window_tokens", Operator.GE, 100_000, {"able"}),
    ("priority", Operator.EQ, 100, {"unable", "unknown"}),
    ("retire_time", Operator.GT, "2026-01-01T00:00:00Z", {"able"}),
    ("provider_id", Operator.EQ, "main", {"able", "unable", "unknown"}),
]


@pytest.mark.parametrize("field", ["stage", "input_modalities"])
async def test_a_value_that_is_not_one_of_a_fields_names_those_that_are(any_database, field):
    operator = Operator.EQ if field == "stage" else Operator.HAS

    async with any_database.read() as tx:
        with pytest.raises(InvalidField, match=r"STAGE_STABLE|MODALITY_IMAGE"):
            await tx.models.list(["acme"], Listing(9, Comparison(field, operator, "nonsense")))


async def test_models_are_found_by_what_they_can_do(database, provider):
    models = (
        replace(
            a_full_model(provider), model_id="able", capabilities=ModelCapabilities(tools=True)
        ),
        a_model(provider, "unable", capabilities=ModelCapabilities(tools=False)),
        a_model(provider, "unknown"),
    )
    async with database.begin() as tx:
        for model in models:
            await tx.models.add(provider.uid, model)

        found = [
            (*asked, {model.model_id for model in (await tx.models.list(["acme"], listing)).items})
            for *asked, _ in FOUND
            if (listing := Listing(9, Comparison(*asked)))
        ]

    assert found == FOUND
