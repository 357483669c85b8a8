"""Secrets that other systems sealed, keys for one purpose, and keys that are known again."""

import pytest
from cryptography.fernet import Fernet

from llm_service.errors import EncryptionKeyMissing, ProviderCredentialUnreadable
from llm_service.vault import BadKeyring, Keyring, Scheme, Vault, generate_key, open_legacy_fernet

OLD, NEW = (f"{name} fernet-v1 {generate_key(Scheme.FERNET_V1)}" for name in ("old", "new"))


def test_a_plain_fernet_token_opens_with_the_key_as_it_is():
    key = Fernet.generate_key()
    token = Fernet(key).encrypt("sk-ключ".encode())

    assert open_legacy_fernet(f" {token.decode()}\n", key.decode()) == "sk-ключ"


@pytest.mark.parametrize("token", ["", "gAAAAA", "sk-canary-plain", "ключ"])
def test_what_is_no_token_of_the_key_is_unreadable_and_not_shown(token):
    with pytest.raises(ProviderCredentialUnreadable) as caught:
        open_legacy_fernet(token, generate_key(Scheme.FERNET_V1))

    assert "canary" not in str(caught.value)


def test_a_token_of_another_key_or_of_no_text_is_unreadable():
    key, other = Fernet.generate_key(), Fernet.generate_key()
    for token in (Fernet(other).encrypt(b"secret"), Fernet(key).encrypt(b"\xff canary")):
        with pytest.raises(ProviderCredentialUnreadable) as caught:
            open_legacy_fernet(token.decode(), key.decode())

        assert caught.value.__context__ is None


@pytest.mark.parametrize("key", ["", "canary", "A" * 44])
def test_what_is_no_fernet_key_is_refused_and_not_shown(key):
    if key == "A" * 44:  # 33 bytes
        key = "A" * 45
    with pytest.raises(BadKeyring) as caught:
        open_legacy_fernet("gAAAAA", key)

    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_purpose_key_is_of_its_purpose_and_ring_key_alone_and_outlasts_a_promotion():
    before = Keyring.from_text(OLD)
    after = Keyring.from_text(f"{OLD}\n{NEW} primary")

    key_id, key = before.purpose_key("audit")

    assert (key_id, len(key)) == ("old", 32)
    assert after.purpose_key("audit", "old") == ("old", key)
    assert after.purpose_key("audit")[0] == "new"
    assert len({key, after.purpose_key("audit")[1], before.purpose_key("pepper")[1]}) == 3


def test_a_purpose_key_of_a_ring_key_that_is_gone_is_refused():
    with pytest.raises(EncryptionKeyMissing) as caught:
        Keyring.from_text(NEW).purpose_key("audit", "old")

    assert caught.value.metadata == {"keyId": "old"}


def test_a_key_is_known_again_by_key_id_scheme_and_deployment():
    key = OLD.split()[2]
    rings = [
        (OLD, "d"),
        (OLD, "other"),
        (f"k fernet-v1 {key}", "d"),
        (f"old aes256gcm-v1 {key}", "d"),
        (f"old fernet-v1 {NEW.split()[2]}", "d"),
    ]

    values = [Keyring.from_text(text).checks(deployment)[0].value for text, deployment in rings]

    assert values[0] == Keyring.from_text(OLD).checks("d")[0].value
    assert len(set(values)) == len(values)
    assert {len(value) for value in values} == {64}


def test_a_vault_goes_on_with_another_ring_and_refuses_to_seal_with_a_bad_key():
    vault = Vault(Keyring.from_text(OLD), "d")
    assert vault.trouble == ""

    vault.use(Keyring.from_text(f"{OLD}\n{NEW} primary"), {"new": "was retired"})

    assert vault.trouble == "the primary encryption key was retired"
