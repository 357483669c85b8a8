"""A chain of audit entries shows that somebody else has touched it."""

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.audit import AuditEntry, ChainHead, FieldChange, Problem
from llm_service.gateway.audit.chain import Reading, Sealer
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.fakes import NOW

KEYS = {f"k{n}": bytes([n]) * 32 for n in (1, 2, 3)}


def a_sealer(primary="k1", keys=("k1",)):
    return Sealer("deployment", primary, {key: KEYS[key] for key in keys})


def an_entry(**changes):
    values = {
        "tenant": "",
        "sequence": 0,
        "create_time": NOW,
        "principal": "clientKeys/ci",
        "peer_ip_address": "10.0.0.7",
        "method": "/llmservice.v1.ProviderAdminService/UpdateProvider",
        "resource": "tenants/acme/providers/one",
        "changes": (FieldChange("tenants/acme/providers/one", "disabled", "", "true"),),
        "changed_resources": ("tenants/acme/providers/one",),
        "error_reason": "",
        "request_id": "r",
        "trace_id": "t",
    }
    return AuditEntry(**{**values, **changes})


def a_chain(*sealers, length=4):
    """Entries, each sealed as the sealer in its place says; the last one goes on to the end."""
    head, entries = ChainHead("acme"), []
    for place in range(length):
        sealer = sealers[min(place, len(sealers) - 1)]
        used = any(entry.key_id == sealer.primary for entry in entries)
        key_id = sealer.key_after(head, primary_was_used=used)
        entries.append(sealer.sealed(an_entry(request_id=str(place)), head, key_id))
        head = entries[-1].head
    return entries


def resealed(entries, sealer, first, key_id):
    """The entries from `first` on, sealed anew as somebody with that one key would."""
    kept = entries[:first]
    head = kept[-1].head if kept else ChainHead("acme")
    for entry in entries[first:]:
        kept.append(sealer.sealed(entry, head, key_id))
        head = kept[-1].head
    return kept


def verdict(entries, sealer):
    reading = Reading(sealer, "acme")
    for entry in entries:
        if (problem := reading.problem(entry)) is not None:
            return problem, reading.end.sequence + 1
    return reading.last_problem()


def test_a_chain_that_nobody_touched_is_intact():
    assert verdict(a_chain(a_sealer()), a_sealer()) is None
    assert verdict([], a_sealer()) is None


ALTERED = {
    "tenant": "umbrella",
    "sequence": 9,
    "create_time": NOW + timedelta(microseconds=1),
    "changes": (),
    "changed_resources": ("providers/other",),
    "epoch": 5,
}


@pytest.mark.parametrize("field", [one.name for one in fields(AuditEntry)])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_no_field_of_an_entry_can_be_altered(field, place):
    entries = a_chain(a_sealer())
    entries[place] = replace(entries[place], **{field: ALTERED.get(field, "other")})

    problem, sequence = verdict(entries, a_sealer())

    assert sequence == place + 1
    expected = {"seal": Problem.SEAL_INVALID, "sequence": Problem.ENTRY_MISSING}
    assert problem is expected.get(field, Problem.ENTRY_ALTERED)


@given(
    before=st.lists(st.text(max_size=4), min_size=5, max_size=5),
    after=st.lists(st.text(max_size=4), min_size=5, max_size=5),
)
def test_entries_that_differ_have_digests_that_differ(before, after):
    names = ("principal", "method", "resource", "request_id", "trace_id")
    one, other = (an_entry(**dict(zip(names, texts, strict=True))) for texts in (before, after))

    same = a_sealer().digest(one, "") == a_sealer().digest(other, "")

    assert same is (before == after)


def test_whoever_lacks_the_key_cannot_add_to_a_chain():
    entries = a_chain(a_sealer())
    forged = replace(a_sealer(), keys={"k1": b"guessed" * 4})

    altered = resealed([*entries[:2], an_entry(), *entries[3:]], forged, 2, "k1")

    assert verdict(altered, a_sealer()) == (Problem.SEAL_INVALID, 3)


def test_a_chain_of_another_deployment_is_not_this_ones():
    elsewhere = replace(a_sealer(), deployment_id="elsewhere")

    assert verdict(a_chain(elsewhere), a_sealer()) == (Problem.ENTRY_ALTERED, 1)


def test_a_new_key_starts_a_new_epoch_and_the_chain_stays_intact():
    both = a_sealer("k2", ("k1", "k2"))

    entries = a_chain(a_sealer(), a_sealer(), both)

    assert [(one.key_id, one.epoch) for one in entries] == [
        ("k1", 1),
        ("k1", 1),
        ("k2", 2),
        ("k2", 2),
    ]
    assert verdict(entries, both) is None


def test_a_replica_that_lags_behind_a_key_change_follows_it():
    old = a_sealer("k1", ("k1", "k2"))
    new = a_sealer("k2", ("k1", "k2"))

    entries = a_chain(old, new, old, new)

    assert [one.key_id for one in entries] == ["k1", "k2", "k2", "k2"]
    assert verdict(entries, new) is None
    assert verdict(entries, old) is None


def test_entries_whose_key_is_retired_are_vouched_for_by_later_ones():
    entries = a_chain(a_sealer(), a_sealer(), a_sealer("k2", ("k1", "k2")))
    now = a_sealer("k2", ("k2",))

    assert verdict(entries, now) is None
    assert verdict(entries[:2], now) == (Problem.SEAL_UNKNOWN, 1)


@pytest.mark.parametrize("first", [0, 1, 2, 3])
@pytest.mark.parametrize("kept", [True, False], ids=["still-in-the-ring", "retired"])
def test_a_key_of_an_older_epoch_cannot_seal_a_chain_anew(first, kept):
    entries = a_chain(a_sealer(), a_sealer(), a_sealer("k2", ("k1", "k2")))
    now = a_sealer("k2", ("k1", "k2") if kept else ("k2",))

    stolen = resealed(entries, a_sealer(), first, "k1")

    expected = Problem.KEY_SUPERSEDED if kept or first == 3 else Problem.SEAL_UNKNOWN
    assert verdict(stolen, now)[0] is expected


def test_entries_from_before_there_was_a_key_are_vouched_for_by_later_ones():
    keyless = Sealer("deployment", "", {})

    entries = a_chain(keyless, keyless, a_sealer())

    assert [one.epoch for one in entries] == [0, 0, 1, 1]
    assert (entries[0].seal, entries[0].key_id) == ("", "")
    assert verdict(entries, a_sealer()) is None
    assert verdict(entries[:2], a_sealer()) == (Problem.SEAL_UNKNOWN, 1)


def test_seals_cannot_be_taken_off():
    entries = a_chain(a_sealer())

    bare = resealed(entries, Sealer("deployment", "", {}), 2, "")

    assert verdict(bare, a_sealer()) == (Problem.KEY_SUPERSEDED, 3)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_ring_key_seals_entries_with_a_key_derived_for_that_alone(scheme):
    text = generate_key(scheme)
    one, again = (
        Vault(Keyring.from_text(f"k1 {scheme.value} {text} primary"), "d") for _ in range(2)
    )

    primary, keys = one.audit_keys

    assert (primary, keys) == again.audit_keys
    assert list(keys) == ["k1"]
    assert keys["k1"].hex() not in repr(one) + repr(one.keyring)
    assert Vault(None, "d").audit_keys == ("", {})
