"""The key file is edited as a whole, and only into one that can be used."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_service.vault import (
    BadKeyring,
    Keyring,
    Scheme,
    add_key,
    generate_key,
    load_key_file,
    promote_key,
    remove_key,
)

KEYS = [generate_key(Scheme.FERNET_V1) for _ in range(3)]
FIRST = f"# ours\nk0 fernet-v1 {KEYS[0]}   # spring\n"
SECOND = f"k1 aes256gcm-v1 {KEYS[1]}"


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "keyring"
    path.write_text(FIRST)
    path.chmod(0o640)
    return path


def test_an_added_key_opens_and_does_not_seal(ring: Path) -> None:
    assert add_key(ring, f"{SECOND} primary\n") == "k1"

    assert ring.read_text() == f"# ours\nk0 fernet-v1 {KEYS[0]} primary  # spring\n{SECOND}\n"
    assert load_key_file(ring).primary_id == "k0"


def test_a_file_is_parsed_again_only_when_it_says_something_else(ring: Path) -> None:
    before = load_key_file(ring)
    assert load_key_file(ring) is before

    ring.write_text(SECOND)
    assert set(load_key_file(ring).schemes) == {"k1"}

    for _ in range(2):
        ring.write_text("no key")
        with pytest.raises(BadKeyring):
            load_key_file(ring)
    ring.write_text(FIRST)
    assert load_key_file(ring) == before


def test_a_promotion_moves_the_mark_and_leaves_the_rest(ring: Path) -> None:
    add_key(ring, SECOND)

    promote_key(ring, "k1")

    assert ring.read_text() == f"# ours\nk0 fernet-v1 {KEYS[0]}  # spring\n{SECOND} primary\n"
    assert load_key_file(ring).primary_id == "k1"


def test_a_bare_key_is_promoted_and_removed_by_its_derived_id(ring: Path) -> None:
    ring.write_text(KEYS[2])  # without a line's end
    bare = load_key_file(ring).primary_id
    add_key(ring, SECOND)
    promote_key(ring, "k1")
    promote_key(ring, bare)
    assert load_key_file(ring).primary_id == bare

    promote_key(ring, "k1")
    remove_key(ring, bare)

    assert ring.read_text() == f"{SECOND} primary\n"


def test_a_removed_key_is_gone(ring: Path) -> None:
    add_key(ring, SECOND)
    promote_key(ring, "k1")

    remove_key(ring, "k0")

    assert KEYS[0] not in ring.read_text()
    assert set(load_key_file(ring).schemes) == {"k1"}


def test_an_edit_keeps_the_mode_and_leaves_nothing_beside_the_file(ring: Path) -> None:
    add_key(ring, SECOND)

    assert stat.S_IMODE(ring.stat().st_mode) == 0o640
    assert list(ring.parent.iterdir()) == [ring]


def test_a_link_stays_a_link(ring: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(ring)

    add_key(link, SECOND)

    assert link.is_symlink()
    assert set(load_key_file(ring).schemes) == {"k0", "k1"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(lambda p: add_key(p, f"k0 fernet-v1 {KEYS[1]}"), "twice", id="taken"),
        pytest.param(lambda p: add_key(p, "k1 fernet-v1 canary"), "32 bytes", id="no-key"),
        pytest.param(lambda p: add_key(p, ""), "one line", id="nothing"),
        pytest.param(lambda p: add_key(p, f"{SECOND}\n{KEYS[2]}"), "one line", id="two-keys"),
        pytest.param(lambda p: promote_key(p, "k9"), "no key k9", id="promote-unknown"),
        pytest.param(lambda p: remove_key(p, "k9"), "no key k9", id="remove-unknown"),
        pytest.param(lambda p: remove_key(p, "k0"), "promote another", id="remove-primary"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_and_changes_nothing(ring, edit, message) -> None:
    with pytest.raises(BadKeyring, match=message) as caught:
        edit(ring)

    assert ring.read_text() == FIRST
    assert "canary" not in str(caught.value)
    assert list(ring.parent.iterdir()) == [ring]


def test_an_edit_the_disk_does_not_take_leaves_the_file_as_it_was(ring, monkeypatch) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(OSError, match="No space"):
        add_key(ring, SECOND)

    assert ring.read_text() == FIRST
    assert list(ring.parent.iterdir()) == [ring]


def test_edits_at_once_lose_nothing(ring: Path) -> None:
    lines = [f"n{number} fernet-v1 {generate_key(Scheme.FERNET_V1)}" for number in range(16)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda line: add_key(ring, line), lines))

    assert len(Keyring.from_text(ring.read_text()).schemes) == 17
