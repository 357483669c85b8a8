"""An operator without a shell sees the keys' standing, and has secrets sealed anew."""

import grpc

from llm_service.domain.access import Principal, Role
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.rpc.administered import administered, as_text, refusal
from tests.rpc.provider_calls import KEY, created, credentials_of

CODE = grpc.StatusCode


def rotated(service) -> str:
    """Give the service a second key, and promote it; returns the first one's id."""
    old = service.vault.keyring
    new = Keyring.from_text(f"new aes256gcm-v1 {generate_key(Scheme.AES256GCM_V1)}")
    service.vault.use(new.keeping(old))
    return old.primary_id


async def status(service) -> pb.GetKeyringStatusResponse:
    return await service.admin.GetKeyringStatus(pb.GetKeyringStatusRequest())


async def rewrap(service, max_count: int = 0) -> pb.RewrapSecretsResponse:
    return await service.admin.RewrapSecrets(pb.RewrapSecretsRequest(max_count=max_count))


async def test_the_status_says_which_key_is_needed_and_shows_none(service):
    await created(service, kind="openai", key=KEY)
    old = rotated(service)

    answer = await status(service)

    standing = {key.id: (key.scheme, key.primary, key.reference_count) for key in answer.keys}
    assert standing == {old: ("fernet-v1", False, 1), "new": ("aes256gcm-v1", True, 0)}
    assert all(key.loaded and not key.problem for key in answer.keys)
    assert not answer.keys[0].HasField("retire_time")
    assert KEY not in as_text(answer)


async def test_rewrapping_seals_with_the_primary_key_and_changes_nothing_to_be_seen(service):
    provider = await created(service, kind="openai", key=KEY)
    before = await credentials_of(service, provider.name)
    rotated(service)

    done = await rewrap(service)

    [credential] = await stored(service)
    assert (done.rewrapped_count, done.remaining_count, done.unreadable_count) == (1, 0, 0)
    assert Vault.describe(credential.sealed) == (Scheme.AES256GCM_V1, "new")
    assert await credentials_of(service, provider.name) == before
    assert (await rewrap(service)).rewrapped_count == 0


async def test_rewrapping_does_no_more_than_it_is_asked_to(service):
    for number in range(3):
        await created(service, provider_id=f"p{number}", kind="openai", key=KEY)
    rotated(service)

    first = await rewrap(service, 1)
    rest = await rewrap(service, 1000)

    assert (first.rewrapped_count, first.remaining_count) == (1, 2)
    assert (rest.rewrapped_count, rest.remaining_count) == (2, 0)


async def test_a_secret_whose_key_is_lost_is_counted_and_left(service):
    await created(service, kind="openai", key=KEY)
    service.vault.use(Keyring.from_text(generate_key(Scheme.FERNET_V1)))

    done = await rewrap(service)

    lost = [key for key in (await status(service)).keys if not key.loaded]
    assert (done.rewrapped_count, done.unreadable_count, done.remaining_count) == (0, 1, 1)
    assert [key.reference_count for key in lost] == [1]


async def test_a_count_out_of_range_is_refused(service):
    for count in (-1, 1001):
        failed = await refusal(
            service.admin.RewrapSecrets(pb.RewrapSecretsRequest(max_count=count))
        )

        assert (failed.code, failed.fields) == (CODE.INVALID_ARGUMENT, ("max_count",))


async def test_without_a_key_ring_nothing_is_rewrapped(database_url):
    async with administered(database_url, keyring=False) as service:
        failed = await refusal(service.admin.RewrapSecrets(pb.RewrapSecretsRequest()))

        assert failed.reason == "ENCRYPTION_KEY_MISSING"
        assert not (await status(service)).keys


async def test_to_a_tenants_caller_there_are_no_keys(database_url):
    principal = Principal("clientKeys/acme", "acme", frozenset(Role))

    async def authenticate(method, context, metadata):
        return principal

    async with administered(database_url, authenticate=authenticate) as service:
        for call in (
            service.admin.GetKeyringStatus(pb.GetKeyringStatusRequest()),
            service.admin.RewrapSecrets(pb.RewrapSecretsRequest()),
        ):
            failed = await refusal(call)

            assert (failed.code, failed.reason) == (CODE.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def stored(service):
    async with service.database.read() as tx:
        return await tx.credentials.of_tenant("")
