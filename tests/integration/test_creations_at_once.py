"""Replicas that are sent one creation at once create once, and give one answer."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from llm_service.domain.creation import Creation, Repeated
from llm_service.domain.listing import Listing
from llm_service.domain.provider import SourceType
from llm_service.errors import AlreadyExists, RequestIdReused
from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.drafts import CredentialDraft, ProviderDraft, Source
from llm_service.gateway.admin.once import Once
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.secrets import Secrets
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.vault import Vault
from tests.integration.samples import NOW

ECHO = ProviderDraft(kind="echo")
CREATION = Creation("acme", "CreateProvider", "0199d2a8-7d2e-7c0a-8f4e-0000000000ab", "digest")


def once(**changes):
    fields = {name: getattr(CREATION, name) for name in Creation.__slots__}
    return Once(Creation(**{**fields, **changes}), lambda view: view.provider.uid.encode())


@pytest.fixture
async def replicas(database_url):
    """Two processes' worth of use cases on one database."""
    async with AsyncExitStack() as stack:
        egress = Egress()
        stack.push_async_callback(egress.aclose)
        databases = [await stack.enter_async_context(Database.open(database_url)) for _ in range(2)]
        yield [Providers(one, Secrets(Vault(None, "d")), egress) for one in databases]


async def outcome(creating) -> str:
    """The uid of what was created, now or before."""
    try:
        return (await creating).provider.uid
    except Repeated as repeated:
        return repeated.answer.decode()


async def test_of_the_same_request_sent_to_two_replicas_one_creates(replicas, database):
    told = await asyncio.gather(
        *(
            outcome(replicas[number % 2].create("acme", "one", ECHO, once=once()))
            for number in range(8)
        )
    )

    async with database.read() as tx:
        stored = await tx.providers.list("acme", Listing(10))
    assert {provider.uid for provider in stored.items} == set(told)
    assert len(stored.items) == 1


async def test_of_different_requests_under_one_id_one_creates(replicas, database):
    told = await asyncio.gather(
        *(
            outcome(
                replicas[number % 2].create(
                    "acme", f"p{number}", ECHO, once=once(body_digest=f"digest-{number}")
                )
            )
            for number in range(6)
        ),
        return_exceptions=True,
    )

    async with database.read() as tx:
        stored = await tx.providers.list("acme", Listing(10))
    assert len(stored.items) == 1
    assert [type(one) for one in told].count(RequestIdReused) == 5


async def test_a_creation_that_fails_keeps_nothing_of_its_request(replicas, database):
    await replicas[0].create("acme", "one", ECHO)

    for _ in range(2):
        with pytest.raises(AlreadyExists):
            await replicas[0].create("acme", "one", ECHO, once=once())

    async with database.begin() as tx:
        await tx.creations.claim(CREATION, NOW)


async def test_a_use_case_may_keep_no_more_than_a_name(replicas, database):
    await replicas[0].create("acme", "one", ProviderDraft(kind="openai"))
    credentials = Credentials(database, Secrets(Vault(None, "d"), ["A_KEY"]))
    source = Source(SourceType.ENVIRONMENT_VARIABLE, reference="A_KEY")
    named = Once(CREATION, lambda view: view.credential.name.encode())
    create = credentials.create

    await create("acme", "one", "main", CredentialDraft(), source, once=named)
    with pytest.raises(Repeated) as repeated:
        await create("acme", "one", "main", CredentialDraft(), source, once=named)

    assert repeated.value.answer == b"tenants/acme/providers/one/credentials/main"
