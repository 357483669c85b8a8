"""What is sealed opens where it belongs, and nowhere else."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import EncryptionKeyMissing, InvalidField, ProviderCredentialUnreadable
from llm_service.vault import (
    MAX_SECRET_BYTES,
    Binding,
    Keyring,
    Scheme,
    Vault,
    generate_key,
)

SCHEMES = [pytest.param(scheme, id=scheme.value) for scheme in Scheme]
BINDING = Binding("credentials", "sealed", "acme", "provider-1", "row-1", 1)
SECRET = "sk-canary-" + "0123456789abcdef" * 26
GOLDEN = Path(__file__).parent / "golden"


def new_keyring(scheme: Scheme, key_id: str = "k1") -> Keyring:
    return Keyring.from_text(f"{key_id} {scheme} {generate_key(scheme)} primary")


VAULTS = {scheme: Vault(new_keyring(scheme), "deployment-1") for scheme in Scheme}


def assert_unreadable(vault: Vault, sealed: str, binding: Binding = BINDING) -> None:
    with pytest.raises(ProviderCredentialUnreadable) as caught:
        vault.open(sealed, binding)

    assert "canary" not in str(caught.value)


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    """Text of every length up to the limit: hypothesis alone rarely goes beyond a few hundred."""
    piece = draw(st.text(min_size=1, max_size=40))
    size = draw(st.integers(0, MAX_SECRET_BYTES))
    repeated = piece * (size // len(piece.encode()) + 1)
    return repeated.encode()[:size].decode(errors="ignore")


@pytest.mark.parametrize("scheme", SCHEMES)
@given(secret=st.text(max_size=400) | long_texts())
def test_s1_any_secret_up_to_the_limit_opens_as_it_was_sealed(scheme: Scheme, secret: str) -> None:
    sealed = VAULTS[scheme].seal(secret, BINDING)

    assert VAULTS[scheme].open(sealed, BINDING) == secret
    assert sealed.isascii()
    assert sealed.isprintable()


ids = st.text(max_size=12)
bindings = st.builds(Binding, ids, ids, ids, ids, ids, st.integers(0, 2**31))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(home=bindings, elsewhere=bindings)
def test_s2_a_secret_opens_only_under_the_very_binding_it_was_sealed_for(
    scheme: Scheme, home: Binding, elsewhere: Binding
) -> None:
    sealed = VAULTS[scheme].seal("secret", home)

    assert VAULTS[scheme].open(sealed, home) == "secret"
    if elsewhere != home:
        assert_unreadable(VAULTS[scheme], sealed, elsewhere)


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param(replace(BINDING, table="providers"), id="table"),
        pytest.param(replace(BINDING, column="previous"), id="column"),
        pytest.param(replace(BINDING, tenant="globex"), id="tenant"),
        pytest.param(replace(BINDING, provider_uid="provider-2"), id="provider"),
        pytest.param(replace(BINDING, row_uid="row-2"), id="row"),
        pytest.param(replace(BINDING, secret_version=2), id="version"),
        pytest.param(
            replace(BINDING, provider_uid="provider-1row", row_uid="-1"), id="border-between-fields"
        ),
    ],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_s2_a_moved_secret_does_not_open(scheme: Scheme, elsewhere: Binding) -> None:
    sealed = VAULTS[scheme].seal(SECRET, BINDING)

    assert_unreadable(VAULTS[scheme], sealed, elsewhere)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("origin", ["", "https://evil.example:443"])
def test_s2_a_secret_does_not_open_for_another_origin(scheme: Scheme, origin: str) -> None:
    bound = replace(BINDING, origin="https://api.example:443")
    sealed = VAULTS[scheme].seal(SECRET, bound)

    assert VAULTS[scheme].open(sealed, bound) == SECRET
    elsewhere = replace(bound, origin=origin)
    assert_unreadable(VAULTS[scheme], sealed, elsewhere)
    # Nor when it is made to look older than the rule.
    older = sealed.replace("sealed2:", "sealed1:")
    assert older != sealed
    assert_unreadable(VAULTS[scheme], older, bound)
    assert_unreadable(VAULTS[scheme], older, elsewhere)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_secret_sealed_before_origins_were_opens_for_the_one_it_is_given_since(
    scheme: Scheme,
) -> None:
    sealed = VAULTS[scheme].seal(SECRET, BINDING)

    assert sealed.startswith("sealed1:")
    since = replace(BINDING, origin="https://api.example:443")
    assert VAULTS[scheme].open(sealed, since) == SECRET


@pytest.mark.parametrize("scheme", SCHEMES)
def test_s2_a_secret_of_another_deployment_does_not_open(scheme: Scheme) -> None:
    keyring = new_keyring(scheme)
    sealed = Vault(keyring, "deployment-1").seal(SECRET, BINDING)

    assert_unreadable(Vault(keyring, "deployment-2"), sealed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_s1_flipping_any_bit_of_the_text_makes_it_unreadable(scheme: Scheme) -> None:
    sealed = VAULTS[scheme].seal(SECRET, BINDING)

    assert len(sealed) >= 500
    for position, character in enumerate(sealed):
        for bit in range(8):
            flipped = chr(ord(character) ^ (1 << bit))
            assert_unreadable(VAULTS[scheme], sealed[:position] + flipped + sealed[position + 1 :])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_s1_flipping_any_bit_of_the_payload_makes_it_unreadable(scheme: Scheme) -> None:
    head, _, text = VAULTS[scheme].seal(SECRET, BINDING).rpartition(":")
    payload = base64.urlsafe_b64decode(text)

    assert len(payload) >= 500
    for position in range(len(payload)):
        for bit in range(8):
            altered = bytearray(payload)
            altered[position] ^= 1 << bit
            assert_unreadable(
                VAULTS[scheme], f"{head}:{base64.urlsafe_b64encode(altered).decode()}"
            )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_s1_every_truncation_is_unreadable(scheme: Scheme) -> None:
    sealed = VAULTS[scheme].seal(SECRET, BINDING)
    head, _, text = sealed.rpartition(":")
    payload = base64.urlsafe_b64decode(text)

    for length in range(len(sealed)):
        assert_unreadable(VAULTS[scheme], sealed[:length])
    for length in range(len(payload)):
        shorter = base64.urlsafe_b64encode(payload[:length]).decode()
        assert_unreadable(VAULTS[scheme], f"{head}:{shorter}")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("extra", ["=", "\n", " ", "AAAA", ":", "!"])
def test_a_ciphertext_has_one_spelling(scheme: Scheme, extra: str) -> None:
    sealed = VAULTS[scheme].seal(SECRET, BINDING)

    assert_unreadable(VAULTS[scheme], sealed + extra)
    assert_unreadable(VAULTS[scheme], extra + sealed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sealing_twice_gives_different_ciphertexts(scheme: Scheme) -> None:
    sealed = {VAULTS[scheme].seal(SECRET, BINDING) for _ in range(20)}

    assert len(sealed) == 20


@pytest.mark.parametrize("new", SCHEMES)
@pytest.mark.parametrize("old", SCHEMES)
def test_s1_after_a_promotion_old_secrets_open_and_new_ones_use_the_new_key(
    old: Scheme, new: Scheme
) -> None:
    old_line = f"k1 {old} {generate_key(old)}"
    sealed_before = Vault(Keyring.from_text(old_line), "d").seal(SECRET, BINDING)

    rotated = Vault(Keyring.from_text(f"{old_line}\nk2 {new} {generate_key(new)} primary\n"), "d")
    sealed_after = rotated.seal(SECRET, BINDING)

    assert rotated.open(sealed_before, BINDING) == SECRET
    assert Vault.describe(sealed_before) == (old, "k1")
    assert rotated.open(sealed_after, BINDING) == SECRET
    assert Vault.describe(sealed_after) == (new, "k2")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_s1_an_unknown_key_id_is_named_in_the_error(scheme: Scheme) -> None:
    sealed = Vault(new_keyring(scheme, "retired"), "deployment-1").seal(SECRET, BINDING)

    with pytest.raises(ProviderCredentialUnreadable, match="not in the key ring") as caught:
        VAULTS[scheme].open(sealed, BINDING)

    assert caught.value.metadata == {"keyId": "retired", "scheme": scheme.value}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_another_key_under_the_same_id_does_not_open(scheme: Scheme) -> None:
    sealed = VAULTS[scheme].seal(SECRET, BINDING)

    assert_unreadable(Vault(new_keyring(scheme), "deployment-1"), sealed)


def test_a_key_serves_only_the_scheme_the_ring_gives_it() -> None:
    key = generate_key(Scheme.FERNET_V1)
    as_fernet = Keyring.from_text(f"k1 {Scheme.FERNET_V1} {key}")
    as_aes = Keyring.from_text(f"k1 {Scheme.AES256GCM_V1} {key}")
    sealed = Vault(as_fernet, "d").seal(SECRET, BINDING)

    assert_unreadable(Vault(as_aes, "d"), sealed)
    assert_unreadable(Vault(as_aes, "d"), sealed.replace("fernet-v1", "aes256gcm-v1"))


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param("", id="empty"),
        pytest.param("sk-canary-never-sealed", id="plain-secret"),
        pytest.param("sealed1:rot13-v1:k1:AAAA", id="unknown-scheme"),
        pytest.param("sealed3:fernet-v1:k1:AAAA", id="unknown-envelope"),
        pytest.param("sealed1:fernet-v1::AAAA", id="no-key-id"),
        pytest.param("sealed1:fernet-v1:" + "k" * 65 + ":AAAA", id="long-key-id"),
        pytest.param("sealed1:fernet-v1:k1\n:AAAA", id="line-break-in-key-id"),
        pytest.param("sealed1:fernet-v1:k1:", id="no-payload"),
        pytest.param("sealed1:fernet-v1:k1:AAAAA", id="not-base64"),
        pytest.param("sealed1:fernet-v1:k1:AAB=", id="stray-bits"),
    ],
)
def test_what_was_never_sealed_is_neither_opened_nor_described(sealed: str) -> None:
    assert_unreadable(VAULTS[Scheme.FERNET_V1], sealed)
    with pytest.raises(ProviderCredentialUnreadable):
        Vault.describe(sealed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_limit_counts_utf8_bytes(scheme: Scheme) -> None:
    longest = "é" * (MAX_SECRET_BYTES // 2)

    assert VAULTS[scheme].open(VAULTS[scheme].seal(longest, BINDING), BINDING) == longest
    with pytest.raises(InvalidField, match="16384 bytes"):
        VAULTS[scheme].seal(longest + "e", BINDING)


def test_a_secret_that_is_not_unicode_is_refused_without_carrying_it_along() -> None:
    with pytest.raises(InvalidField, match="valid Unicode") as caught:
        VAULTS[Scheme.FERNET_V1].seal("sk-canary-\ud800", BINDING)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_without_a_key_ring_nothing_is_sealed_or_opened() -> None:
    vault = Vault(None, "deployment-1")

    with pytest.raises(EncryptionKeyMissing):
        vault.seal(SECRET, BINDING)
    with pytest.raises(EncryptionKeyMissing):
        vault.open(VAULTS[Scheme.FERNET_V1].seal(SECRET, BINDING), BINDING)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", ["", "-origin"])
def test_s1_the_golden_ciphertext_opens(scheme: Scheme, form: str) -> None:
    golden = json.loads((GOLDEN / f"vault-{scheme}{form}.json").read_text(encoding="utf-8"))
    vault = Vault(Keyring.from_text(golden["keyring"]), golden["deployment_id"])

    opened = vault.open(golden["sealed"], Binding(**golden["binding"]))

    assert opened == golden["secret"]
    assert Vault.describe(golden["sealed"]) == (scheme, "golden")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_ciphertext_shows_nothing_of_the_secret(scheme: Scheme) -> None:
    sealed = VAULTS[scheme].seal(SECRET, BINDING)

    payload = base64.urlsafe_b64decode(sealed.rpartition(":")[2])
    assert b"canary" not in payload
    assert b"acme" not in payload
    assert "canary" not in repr(VAULTS[scheme])
