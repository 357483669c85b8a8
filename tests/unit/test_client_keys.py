"""Keys are made, changed and ended; nobody gives away what it has not got."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.domain.access import ANYONE, ClientKeyState, Principal, Role
from llm_service.domain.provider import RateLimits
from llm_service.errors import (
    EncryptionKeyMissing,
    EtagMismatch,
    GatewayError,
    InvalidField,
    PermissionDenied,
    ResourceInUse,
)
from llm_service.gateway.access import key_text
from llm_service.gateway.access.client_keys import ClientKeyDraft, ClientKeys
from llm_service.rpc.access import AccessServicer
from llm_service.rpc.stubs import access_service_pb2 as pb
from llm_service.vault import Vault
from tests.unit.key_store import NOW, KeyStore, a_vault, called_by

INVOKE = ClientKeyDraft(roles=frozenset({Role.INVOKE}))


@pytest.fixture
def store() -> KeyStore:
    return KeyStore()


@pytest.fixture
def keys(store) -> ClientKeys:
    return ClientKeys(store, a_vault(), lambda: NOW)


async def test_a_keys_text_is_told_once_and_only_a_hash_is_stored(keys, store):
    key, text = await keys.create("acme", INVOKE)

    secret = key_text.read(text).secret
    stored = store.rows[key.key_id]
    assert re.fullmatch(r"llm_[a-z2-7]{16}_[a-z2-7]{52}_[0-9a-f]{8}", text)
    assert text.split("_")[1] == key.key_id
    assert len(stored.digest) == 32
    for shown in (repr(stored), str(stored), repr(key_text.read(text))):
        assert secret not in shown
    assert secret.encode() not in stored.digest


async def test_the_hash_is_keyed_so_that_the_secret_alone_does_not_give_it(store):
    one, other = a_vault(), a_vault()
    _, digest = key_text.digest("secret", one)

    assert key_text.digest("secret", other)[1] != digest
    assert key_text.digest("secret", one)[1] == digest


async def test_without_a_key_ring_no_key_is_made(store):
    with pytest.raises(EncryptionKeyMissing):
        await ClientKeys(store, Vault(None, "deployment")).create("", INVOKE)
    assert store.rows == {}


@pytest.mark.parametrize("position", range(82))
def test_a_mistyped_key_is_told_by_its_checksum(position):
    text = str(key_text.new())
    wrong = "a" if text[position] != "a" else "b"

    assert len(text) == 82
    assert key_text.read(text) is not None
    assert key_text.read(text[:position] + wrong + text[position + 1 :]) is None
    assert key_text.read(text[:position]) is None


@pytest.mark.parametrize(
    "draft",
    [
        ClientKeyDraft(),
        ClientKeyDraft(display_name="x" * 257, roles=frozenset({Role.INVOKE})),
        ClientKeyDraft(display_name="a\nb", roles=frozenset({Role.INVOKE})),
    ],
)
async def test_a_key_that_could_not_be_used_is_refused(keys, store, draft):
    with pytest.raises(InvalidField):
        await keys.create("", draft)
    assert store.rows == {}


async def test_a_revoked_key_stays_revoked(keys):
    key, _ = await keys.create("acme", INVOKE)

    revoked = await keys.revoke("acme", key.key_id)
    again = await keys.revoke("acme", key.key_id)

    assert keys.state(revoked) is ClientKeyState.REVOKED
    assert again == revoked
    with pytest.raises(ResourceInUse):
        await keys.update("acme", key.key_id, lambda draft: draft)


async def test_a_change_of_what_was_read_before_another_change_is_refused(keys):
    key, _ = await keys.create("acme", INVOKE)
    await keys.update("acme", key.key_id, lambda draft: draft)

    with pytest.raises(EtagMismatch):
        await keys.revoke("acme", key.key_id, expected_version=key.version)


async def test_the_first_key_is_made_once(keys, store):
    text = await keys.create_first()
    again = await keys.create_first()

    [key] = store.rows.values()
    assert key_text.read(text).key_id == key.key_id
    assert (key.tenant, key.roles) == ("", frozenset(Role))
    assert again == ""


@pytest.mark.parametrize(
    ("maker", "tenant", "roles"),
    [
        (Principal("m", "", frozenset({Role.ACCESS})), "", {Role.ACCESS, Role.ADMIN}),
        (Principal("m", "acme", frozenset(Role)), "", {Role.INVOKE}),
        (Principal("m", "acme", frozenset(Role)), "other", {Role.INVOKE}),
        (Principal("m", "acme", frozenset({Role.ACCESS})), "acme", {Role.INVOKE}),
        (Principal("m", "", frozenset(Role), NOW), "", {Role.INVOKE}),
    ],
)
async def test_a7_nobody_makes_a_key_that_can_do_more_than_its_maker(
    keys, store, maker, tenant, roles
):
    async with called_by(maker):
        with pytest.raises(PermissionDenied):
            await keys.create(tenant, ClientKeyDraft(roles=frozenset(roles)))
    assert store.rows == {}


# --- A7: sequences of calls ----------------------------------------------------------------------

TENANTS = ("", "acme")
ROLE_SETS = st.sampled_from(
    [frozenset({Role.ACCESS}), frozenset({Role.INVOKE}), frozenset({Role.ACCESS, Role.INVOKE})]
)
VAULT = a_vault()
DAY = timedelta(days=1)
EXPIRIES = st.sampled_from([None, NOW + DAY, NOW - DAY])
DRAFTS = st.builds(
    ClientKeyDraft,
    roles=ROLE_SETS,
    disabled=st.sampled_from([False, False, True]),
    expire_time=EXPIRIES,
)
CALLER_KEY = st.builds(
    ClientKeyDraft,
    roles=ROLE_SETS.map(lambda roles: roles | {Role.ACCESS}),
    expire_time=st.sampled_from([None, NOW + DAY]),
)
HELD = st.lists(st.tuples(st.sampled_from(TENANTS), DRAFTS), max_size=3)
CALLS = st.lists(
    st.tuples(
        st.integers(0, 3),  # which of its keys it calls with
        st.sampled_from(["create", "update", "revoke"]),
        st.integers(0, 5),  # which key it changes
        st.sampled_from(TENANTS),
        DRAFTS,
        st.sampled_from([["*"], ["roles"], ["disabled"], ["expire_time"], []]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(key=st.tuples(st.sampled_from(TENANTS), CALLER_KEY), held=HELD, others=HELD, calls=CALLS)
def test_a7_no_sequence_of_calls_enlarges_what_its_caller_can_do(key, held, others, calls):
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(attacks([key, *held], others, calls))


async def attacks(held, others, calls) -> None:
    """Somebody holds the texts of some keys, active or not, and of those it makes itself."""
    store = KeyStore()
    keys = ClientKeys(store, VAULT, lambda: NOW)
    servicer = AccessServicer(keys)
    mine = [(await keys.create(*one))[0].key_id for one in held]
    for one in others:
        await keys.create(*one)
    before = rights(store, mine)
    for who, what, target, tenant, draft, mask in calls:
        key = store.rows[mine[who % len(mine)]]
        if key.state(NOW) is not ClientKeyState.ACTIVE or Role.ACCESS not in key.roles:
            continue  # the interceptors do not let it in
        name = list(store.rows.values())[target % len(store.rows)].name
        async with called_by(key.principal):
            made = await attempted(servicer, what, name, tenant, draft, mask)
        if made is not None:
            mine.append(made.client_key.name.rpartition("/")[2])
        assert rights(store, mine) <= before


async def attempted(servicer, what, name, tenant, draft, mask):
    message = pb.ClientKey(name=name, disabled=draft.disabled)
    message.roles.extend(pb.AccessRole.Value(f"ACCESS_ROLE_{r.name}") for r in draft.roles)
    if draft.expire_time:
        message.expire_time.FromDatetime(draft.expire_time)
    try:
        if what == "create":
            parent = f"tenants/{tenant}" if tenant else ""
            request = pb.CreateClientKeyRequest(parent=parent, client_key=message)
            return await servicer.CreateClientKey(request, None)
        if what == "revoke":
            await servicer.RevokeClientKey(pb.RevokeClientKeyRequest(name=name), None)
            return None
        request = pb.UpdateClientKeyRequest(client_key=message)
        request.update_mask.paths.extend(mask)
        await servicer.UpdateClientKey(request, None)
    except GatewayError:
        pass
    return None


def rights(store, key_ids) -> set[tuple[str, Role, object]]:
    """Tenant and role pairs that the active ones of the keys open, now and a year from now."""
    opened = set()
    for moment in (NOW, NOW + timedelta(days=365)):
        for key_id in key_ids:
            key = store.rows[key_id]
            if key.state(NOW) is ClientKeyState.ACTIVE and key.state(moment) is key.state(NOW):
                reached = TENANTS if key.tenant == "" else (key.tenant,)
                opened |= {(tenant, role, moment) for tenant in reached for role in key.roles}
    return opened


async def test_a7_the_open_default_may_make_any_key(keys):
    async with called_by(ANYONE):
        key, _ = await keys.create("acme", ClientKeyDraft(roles=frozenset(Role)))

    assert key.roles == frozenset(Role)


@pytest.mark.parametrize(
    ("stored", "change"),
    [
        ({"disabled": True}, {"disabled": False}),
        ({"expire_time": NOW - DAY}, {"expire_time": None}),
        ({"expire_time": NOW + DAY}, {"expire_time": NOW + 2 * DAY}),
        ({}, {"roles": frozenset({Role.ADMIN, Role.BUDGET})}),
        ({"rate_limits": RateLimits(1)}, {"rate_limits": RateLimits()}),
        ({"rate_limits": RateLimits(1)}, {"rate_limits": RateLimits(2)}),
    ],
)
async def test_a7_nobody_wakes_or_widens_a_key_that_can_do_more_than_oneself(keys, stored, change):
    key, _ = await keys.create("acme", ClientKeyDraft(roles=frozenset({Role.ADMIN}), **stored))

    async with called_by(Principal("m", "acme", frozenset({Role.ACCESS}))):
        with pytest.raises(PermissionDenied):
            await keys.update("acme", key.key_id, lambda draft: replace(draft, **change))
        renamed = await keys.update(
            "acme", key.key_id, lambda draft: replace(draft, display_name="x", disabled=True)
        )

    assert renamed.roles == {Role.ADMIN}


@pytest.mark.parametrize("wider", [RateLimits(), RateLimits(11, 100), RateLimits(10)])
async def test_a7_a_key_has_no_wider_limits_than_its_maker(keys, wider):
    maker = Principal("m", "acme", frozenset(Role), rate_limits=RateLimits(10, 100))
    draft = ClientKeyDraft(roles=frozenset({Role.INVOKE}), rate_limits=RateLimits(10, 99, 1))
    async with called_by(maker):
        key, _ = await keys.create("acme", draft)
        with pytest.raises(PermissionDenied, match="rate limits"):
            await keys.create("acme", replace(draft, rate_limits=wider))
        with pytest.raises(PermissionDenied, match="rate limits"):
            await keys.update("acme", key.key_id, lambda draft: replace(draft, rate_limits=wider))
        tighter = RateLimits(1, 1, 1)
        changed = await keys.update(
            "acme", key.key_id, lambda draft: replace(draft, rate_limits=tighter)
        )

    assert changed.principal.rate_limits == tighter
