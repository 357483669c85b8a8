"""Credentials are told apart by all of them, remembered for a while, and forgotten when changed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_service.domain.access import ClientKey, Principal, Role
from llm_service.errors import CallerUnauthenticated, Overloaded, StorageUnavailable
from llm_service.gateway.access import authenticator as module
from llm_service.gateway.access import key_text, known_keys
from llm_service.gateway.access.accepted import Accepted
from llm_service.gateway.access.authenticator import REFUSAL, Authenticator
from llm_service.gateway.access.client_keys import ClientKeyDraft, ClientKeys
from llm_service.gateway.access.known_keys import LOOKUP_BURST, KnownKeys
from tests.unit.key_store import NOW, KeyStore, a_vault

DRAFT = ClientKeyDraft(roles=frozenset({Role.INVOKE}))


class Clock:
    """Seconds since 1970 that stand still until a test moves them."""

    def __init__(self) -> None:
        self.seconds = NOW.timestamp()

    def __call__(self) -> float:
        return self.seconds

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


class Tokens:
    """Accepts what a test says, and counts how often it is asked."""

    def __init__(self, accepted=None) -> None:
        self.accepted = accepted or {}
        self.asked = 0

    async def verify(self, token):
        self.asked += 1
        return self.accepted.get(token)


class Doors:
    """Everything a credential passes, over keys in memory."""

    def __init__(self, tokens=None) -> None:
        self.clock, self.store, self.vault = Clock(), KeyStore(), a_vault()
        self.keys = ClientKeys(self.store, self.vault, self.clock.moment)
        self.known = KnownKeys(self.store, self.clock)
        self.authenticator = Authenticator(self.known, self.vault, tokens=tokens, now=self.clock)

    async def bearer(self, credential: str) -> Principal:
        return await self.authenticator.authorization(f"Bearer {credential}")

    async def refused(self, credential: str) -> bool:
        return await self.refused_header(f"Bearer {credential}")

    async def refused_header(self, header: str) -> bool:
        try:
            if self.authenticator.remembered(header):
                return False
            await self.authenticator.authorization(header)
        except CallerUnauthenticated as error:
            return str(error) == REFUSAL  # whatever is wrong, no more is said
        return False


@pytest.fixture
def doors() -> Doors:
    return Doors()


async def test_a_key_is_its_tenants_principal_with_its_roles(doors):
    key, text = await doors.keys.create("acme", DRAFT)

    found = await doors.bearer(text)

    assert found == Principal(key.name, "acme", frozenset({Role.INVOKE}))


async def test_a_known_key_never_waits_for_the_database(doors):
    _, text = await doors.keys.create("acme", DRAFT)
    await doors.known.refresh()
    doors.store.down = True

    for _ in range(3):
        doors.clock.seconds += module.KEPT_SECONDS + 1
        assert (await doors.bearer(text)).tenant == "acme"

    assert doors.store.lookups == 0


async def test_a_key_made_elsewhere_a_moment_ago_is_looked_up_once(doors):
    await doors.known.refresh()
    _, text = await doors.keys.create("acme", DRAFT)

    await doors.bearer(text)
    await doors.bearer(text)

    assert doors.store.lookups == 1


async def test_an_unknown_key_while_the_database_is_away_may_be_tried_again(doors):
    doors.store.down = True

    with pytest.raises(StorageUnavailable):
        await doors.bearer(str(key_text.new()))


@pytest.mark.parametrize("ended", ["revoked", "disabled", "expired", "deleted", "broken"])
async def test_a4_a_key_that_ends_opens_nothing_from_the_next_refresh_on(doors, ended):
    key, text = await doors.keys.create("acme", replace(DRAFT, expire_time=NOW + timedelta(1)))
    await doors.bearer(text)

    if ended == "revoked":
        await doors.keys.revoke("acme", key.key_id)
    elif ended == "disabled":
        await doors.keys.update("acme", key.key_id, lambda draft: replace(draft, disabled=True))
    elif ended == "broken":
        doors.store.rows[key.key_id] = replace(doors.store.rows[key.key_id], unreadable=("roles",))
        await doors.store.bump("acme")
    elif ended == "deleted":
        del doors.store.rows[key.key_id]
        await doors.store.bump("acme")
    else:
        doors.clock.seconds += timedelta(days=1).total_seconds()
    await doors.known.refresh()

    assert await doors.refused(text)


async def test_a_key_switched_on_again_opens_again(doors):
    key, text = await doors.keys.create("acme", replace(DRAFT, disabled=True))
    assert await doors.refused(text)

    await doors.keys.update("acme", key.key_id, lambda draft: replace(draft, disabled=False))
    await doors.known.refresh()
    doors.clock.seconds += module.REFUSED_SECONDS

    assert not await doors.refused(text)


async def test_changed_roles_hold_from_the_next_refresh_on(doors):
    key, text = await doors.keys.create("acme", DRAFT)
    await doors.bearer(text)

    await doors.keys.update(
        "acme", key.key_id, lambda draft: replace(draft, roles=frozenset({Role.BUDGET}))
    )
    await doors.known.refresh()

    assert (await doors.bearer(text)).roles == {Role.BUDGET}


async def test_a_right_id_with_a_wrong_secret_opens_nothing(doors):
    key, text = await doors.keys.create("acme", DRAFT)
    forged = str(replace(key_text.new(), key_id=key.key_id))

    assert not await doors.refused(text)
    assert await doors.refused(forged)


async def test_a_key_hashed_under_a_retired_ring_key_opens_nothing(doors):
    key, text = await doors.keys.create("acme", DRAFT)
    doors.store.rows[key.key_id] = replace(key, pepper_id="retired")

    assert await doors.refused(text)


# --- A3: whatever stands in the header -----------------------------------------------------------

INJECTIONS = [
    "' OR '1'='1",
    "llm_' OR 1=1 --_x_0",
    "'; DROP TABLE client_keys; --",
    'llm_aaaaaaaaaaaaaaaa" UNION SELECT digest FROM client_keys --',
    "${jndi:ldap://x}",
    "llm_%_%_%",
    "llm_aaaaaaaaaaaaaaaa_" + "a" * 52 + "_00000000",
    "\x00",
    "a.b.c",
    "..",
]


@given(st.text(max_size=200) | st.text("llm_abc234.=-'", max_size=100))
@example("".join(INJECTIONS))
def test_a3_no_text_is_anybody_and_none_reaches_the_database(text):
    doors = Doors()

    assert asyncio.run(doors.refused(text))
    assert doors.store.lookups == 0


@pytest.mark.parametrize("text", [*INJECTIONS, "", "x" * 8193, "llm_" * 2000])
async def test_a3_injections_are_refused_like_everything_else(doors, text):
    assert await doors.refused(text)
    assert doors.store.lookups == 0


async def test_a3_only_well_formed_ids_are_looked_up_and_only_so_many(doors):
    await doors.known.refresh()
    await doors.keys.create("acme", DRAFT)
    await doors.known.refresh()

    for _ in range(int(LOOKUP_BURST) + 50):
        assert await doors.refused(str(key_text.new()))

    assert doors.store.lookups == LOOKUP_BURST


async def test_where_not_all_keys_fit_in_memory_one_that_cannot_be_looked_up_now_may_try_again(
    doors, monkeypatch
):
    monkeypatch.setattr(known_keys, "MOST_KEYS", 1)
    for _ in range(2):
        await doors.keys.create("acme", DRAFT)
    await doors.known.refresh()
    for _ in range(int(LOOKUP_BURST)):
        await doors.known.find("a" * 16)

    with pytest.raises(Overloaded):
        await doors.known.find("a" * 16)
    doors.clock.seconds += 1
    assert await doors.known.find("a" * 16) is None


async def test_before_the_database_has_answered_once_every_key_waits_for_it(doors):
    _, text = await doors.keys.create("acme", DRAFT)
    doors.store.down = True

    for _ in range(int(LOOKUP_BURST) + 50):
        with pytest.raises(StorageUnavailable):
            await doors.bearer(text)
    doors.store.down = False
    await doors.known.refresh()

    assert (await doors.bearer(text)).tenant == "acme"


# --- A4: what is remembered ----------------------------------------------------------------------


async def test_a4_a_thousand_tokens_with_equal_beginnings_are_a_thousand_callers():
    head = "e" * 200
    tokens = Tokens(
        {
            f"{head}{n}": Accepted(Principal(f"jwt:i#{n}", f"t{n}"), float("inf"))
            for n in range(1000)
        }
    )
    doors = Doors(tokens)

    for _ in range(2):
        found = [await doors.bearer(f"{head}{n}") for n in range(1000)]
        assert [one.tenant for one in found] == [f"t{n}" for n in range(1000)]

    assert tokens.asked == 1000
    assert await doors.refused(head)


async def test_a4_a_token_is_verified_again_after_thirty_seconds_and_at_its_end():
    now = NOW.timestamp()
    tokens = Tokens(
        {"long": Accepted(Principal("l"), now + 3600), "short": Accepted(Principal("s"), now + 10)}
    )
    doors = Doors(tokens)
    for token in ("long", "short"):
        await doors.bearer(token)

    doors.clock.seconds += 11
    assert not await doors.refused("long")
    assert await doors.refused("short")
    asked = tokens.asked
    doors.clock.seconds += 20
    assert not await doors.refused("long")

    assert asked == 3
    assert tokens.asked == 4


async def test_a4_what_is_refused_is_remembered_shortly_and_within_bounds():
    tokens = Tokens()
    doors = Doors(tokens)

    assert await doors.refused("x")
    assert await doors.refused("x")
    assert tokens.asked == 1
    doors.clock.seconds += module.REFUSED_SECONDS
    assert await doors.refused("x")
    assert tokens.asked == 2

    for n in range(module.MOST_REFUSED + 10):
        assert await doors.refused(f"x{n}")
    assert len(doors.authenticator._refused) == module.MOST_REFUSED
    assert set(map(len, doors.authenticator._refused)) == {32}


async def test_a4_no_more_callers_are_remembered_than_have_room(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    tokens = Tokens({str(n): Accepted(Principal(str(n)), float("inf")) for n in range(5)})
    doors = Doors(tokens)

    for n in range(5):
        await doors.bearer(str(n))

    assert len(doors.authenticator._accepted) == 3


async def test_more_keys_than_have_room_are_looked_up_when_they_come(doors, monkeypatch):
    monkeypatch.setattr("llm_service.gateway.access.known_keys.MOST_KEYS", 2)
    texts = [(await doors.keys.create("acme", DRAFT))[1] for _ in range(4)]
    await doors.known.refresh()

    for text in texts:
        assert not await doors.refused(text)

    assert len(doors.known._keys) == 2
    assert doors.store.lookups >= 2


async def test_a_refresh_reads_the_keys_of_changed_tenants_only(doors):
    one, _ = await doors.keys.create("acme", DRAFT)
    other, _ = await doors.keys.create("other", DRAFT)
    await doors.known.refresh()
    held: ClientKey | None = doors.known.get(one.key_id)

    await doors.keys.revoke("other", other.key_id)
    await doors.known.refresh()

    assert doors.known.get(one.key_id) is held
    assert doors.known.get(other.key_id).revoke_time is not None


async def test_keys_are_read_again_from_a_database_that_was_put_back(doors):
    key, text = await doors.keys.create("acme", DRAFT)
    backup = dict(doors.store.rows), dict(doors.store.generations)
    for number in range(3):
        await doors.keys.create(f"t{number}", DRAFT)
    await doors.known.refresh()
    doors.store.rows, doors.store.generations = backup
    await doors.known.refresh()

    await doors.keys.revoke("acme", key.key_id)
    await doors.known.refresh()

    assert await doors.refused(text)


async def test_a_key_revoked_while_it_is_looked_up_is_not_taken_as_it_was(doors, monkeypatch):
    monkeypatch.setattr(known_keys, "MOST_KEYS", 1)  # so that no refresh brings the older one
    key, text = await doors.keys.create("acme", DRAFT)
    doors.clock.seconds += 1
    await doors.keys.create("acme", DRAFT)
    await doors.known.refresh()
    find = doors.store.find

    async def found_before_the_change(key_id):
        found = await find(key_id)
        if found.revoke_time is None:
            await doors.keys.revoke("acme", key.key_id)
            await doors.known.refresh()
        return found

    monkeypatch.setattr(doors.store, "find", found_before_the_change)

    assert await doors.refused(text)


async def test_keys_are_read_again_only_for_a_generation_that_is_not_theirs(doors):
    await doors.keys.create("acme", DRAFT)
    await doors.known.refresh()
    doors.store.down = True

    await doors.known.up_to(1)
    with pytest.raises(StorageUnavailable):
        await doors.known.up_to(2)
