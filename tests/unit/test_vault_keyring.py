"""Key rings: their text, their file, and what they never show."""

import base64
import os
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken

from llm_service.vault import (
    BadKeyring,
    Binding,
    Keyring,
    Scheme,
    Vault,
    generate_key,
    load_or_create_key_file,
)

BINDING = Binding("credentials", "sealed", "acme", "provider-1", "row-1", 1)
FERNET_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
AES_KEY = base64.urlsafe_b64encode(bytes(range(224, 256))).decode()
TWO_KEYS = f"""
# rotated in spring
old  fernet-v1     {FERNET_KEY}
new  aes256gcm-v1  {AES_KEY}  primary   # seals from now on
"""


def test_a_key_file_names_its_primary() -> None:
    keyring = Keyring.from_text(TWO_KEYS)

    assert keyring.primary_id == "new"
    assert keyring.primary_scheme is Scheme.AES256GCM_V1


def test_a_single_key_is_primary_without_saying_so() -> None:
    keyring = Keyring.from_text(f"only aes256gcm-v1 {AES_KEY}")

    assert keyring.primary_id == "only"


def test_a_bare_fernet_key_gets_an_id_that_never_changes() -> None:
    keyring = Keyring.from_text(FERNET_KEY + "\n")

    assert keyring.primary_id == "b046a4a9"
    assert keyring.primary_scheme is Scheme.FERNET_V1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(FERNET_KEY.rstrip("="), id="unpadded"),
        pytest.param(base64.b64encode(bytes(range(32))).decode(), id="standard-alphabet"),
        pytest.param(f"  {FERNET_KEY}  ", id="spaces"),
    ],
)
def test_every_spelling_of_a_bare_key_is_the_same_key(text: str) -> None:
    sealed = Vault(Keyring.from_text(FERNET_KEY), "d").seal("secret", BINDING)

    assert Vault(Keyring.from_text(text), "d").open(sealed, BINDING) == "secret"


def test_both_base64_alphabets_are_read() -> None:
    key = bytes([0xFB, 0xFF]) * 16
    url_safe, standard = base64.urlsafe_b64encode(key), base64.b64encode(key)

    ids = {Keyring.from_text(text.decode()).primary_id for text in (url_safe, standard)}

    assert url_safe != standard
    assert len(ids) == 1


def test_a_bare_key_stays_in_the_ring_when_it_is_rotated_out() -> None:
    sealed = Vault(Keyring.from_text(FERNET_KEY), "d").seal("secret", BINDING)

    rotated = Keyring.from_text(f"{FERNET_KEY}\nnew aes256gcm-v1 {AES_KEY} primary")

    assert rotated.primary_id == "new"
    assert Vault(rotated, "d").open(sealed, BINDING) == "secret"


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_generated_key_is_new_and_fits_its_scheme(scheme: Scheme) -> None:
    keys = {generate_key(scheme) for _ in range(10)}

    assert len(keys) == 10
    for key in keys:
        assert Keyring.from_text(f"k {scheme} {key}").primary_scheme is scheme


def test_the_ring_key_itself_decrypts_nothing() -> None:
    sealed = Vault(Keyring.from_text(FERNET_KEY), "d").seal("secret", BINDING)
    token = sealed.rpartition(":")[2]

    with pytest.raises(InvalidToken):
        Fernet(FERNET_KEY).decrypt(token)


BAD_TEXTS = [
    pytest.param("", "no key", id="empty"),
    pytest.param("# only a comment\n", "no key", id="comment"),
    pytest.param("canary-not-a-key", "line 1.*32 bytes", id="not-base64"),
    pytest.param(f"k1 fernet-v1 {FERNET_KEY[:40]}", "line 1.*32 bytes", id="short-key"),
    pytest.param(f"k1 fernet-v1 {FERNET_KEY[:43]}A", "line 1.*32 bytes", id="long-key"),
    pytest.param(f"k1 fernet-v1 {FERNET_KEY[:42]}é", "line 1.*32 bytes", id="not-ascii"),
    pytest.param(f"\nk1 rot13-v1 {FERNET_KEY}", "line 2.*scheme out of", id="scheme"),
    pytest.param(f"k:1 fernet-v1 {FERNET_KEY}", "line 1.*an id of", id="key-id"),
    pytest.param(f"fernet-v1 {FERNET_KEY}", "line 1: is not", id="two-words"),
    pytest.param(f"k1 fernet-v1 {FERNET_KEY} secondary", "line 1: is not", id="four-words"),
    pytest.param(f"{FERNET_KEY} fernet-v1 k1", "line 1", id="wrong-order"),
    pytest.param(f"{FERNET_KEY[:43]} fernet-v1 k1", "line 1.*32 bytes", id="wrong-order-unpadded"),
    pytest.param("primary", "line 1.*32 bytes", id="only-primary"),
    pytest.param(
        f"k1 fernet-v1 {FERNET_KEY}\nk1 aes256gcm-v1 {AES_KEY} primary", "line 2.*twice", id="twice"
    ),
    pytest.param(
        f"k1 fernet-v1 {FERNET_KEY}\nk2 fernet-v1 {AES_KEY}", "exactly one", id="no-primary"
    ),
    pytest.param(
        f"k1 fernet-v1 {FERNET_KEY} primary\nk2 fernet-v1 {AES_KEY} primary",
        "exactly one",
        id="two-primaries",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS)
def test_bad_key_text_says_what_is_wrong_and_shows_no_key(text: str, message: str) -> None:
    with pytest.raises(BadKeyring, match=message) as caught:
        Keyring.from_text(text)

    shown = "".join(traceback.format_exception_only(caught.value))
    assert "canary" not in shown
    assert FERNET_KEY[:16] not in shown
    assert AES_KEY[:16] not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_repr_of_a_ring_shows_ids_and_schemes_only() -> None:
    shown = repr(Keyring.from_text(TWO_KEYS))

    assert shown == "Keyring(old: fernet-v1, new: aes256gcm-v1; primary new)"


def test_a_missing_key_file_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keyring"

    keyring, created = load_or_create_key_file(path)

    assert created
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert keyring.primary_scheme is Scheme.FERNET_V1


def test_an_existing_key_file_is_read_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "keyring"
    first, _ = load_or_create_key_file(path)
    text = path.read_text()
    sealed = Vault(first, "d").seal("secret", BINDING)

    second, created = load_or_create_key_file(path)

    assert not created
    assert path.read_text() == text
    assert Vault(second, "d").open(sealed, BINDING) == "secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_key_file_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keyring"
    path.write_text(TWO_KEYS)
    path.chmod(mode)

    with pytest.raises(BadKeyring, match="chmod 600") as caught:
        load_or_create_key_file(path)

    assert FERNET_KEY not in str(caught.value)
    assert path.read_text() == TWO_KEYS


def test_a_broken_key_file_is_refused_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keyring"
    path.write_text("canary-not-a-key")
    path.chmod(0o600)

    with pytest.raises(BadKeyring, match="keyring: key ring line 1") as caught:
        load_or_create_key_file(path)

    assert "canary" not in str(caught.value)
    assert path.read_text() == "canary-not-a-key"


def test_processes_that_create_the_file_at_once_share_one_key(tmp_path: Path) -> None:
    paths = [tmp_path / str(round_) / "keyring" for round_ in range(5)]

    with ThreadPoolExecutor(8) as threads:
        rounds = [list(threads.map(load_or_create_key_file, [path] * 8)) for path in paths]

    for path, results in zip(paths, rounds, strict=True):
        assert [created for _, created in results].count(True) == 1
        assert len({keyring.primary_id for keyring, _ in results}) == 1
        assert list(path.parent.iterdir()) == [path]


def test_a_key_file_that_cannot_be_created_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(OSError, match="No space"):
        load_or_create_key_file(tmp_path / "keyring")

    assert list(tmp_path.iterdir()) == []
