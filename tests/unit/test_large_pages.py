"""Which of a process's memory is put on large pages once it is up."""

import subprocess
import sys

import pytest

from llm_service.bootstrap.memory import _large_pages

HUGE = 2 << 20

MAPS = b"""\
55f13a05b000-55f13ac00000 rw-p 00000000 00:00 0                          [heap]
7fb25ec00000-7fb25ee00000 rw-p 00000000 00:00 0
7fb25eec4000-7fb25fa00000 r-xp 00200000 fe:00 131 /usr/lib/lib with a space.so
7fb260000000-7fb260800000 rw-p 00200000 fe:00 131 /usr/lib/written.so
7fb261000000-7fb261400000 rw-s 00000000 00:01 9   /dev/zero (deleted)
7fb262001000-7fb262400000 rw-p 00000000 00:00 0
7fb263000000-7fb263400000 ---p 00000000 00:00 0
7ffc10000000-7ffc10400000 rw-p 00000000 00:00 0                          [stack]
7fb264400000-7fb264800000 r--p 00000000 00:00 0
"""


def test_whole_pages_of_the_heap_and_of_memory_without_a_file_are_taken():
    assert list(_large_pages(MAPS)) == [
        *range(0x55F13A200000, 0x55F13AC00000, HUGE),
        0x7FB25EC00000,
        0x7FB262200000,
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
@pytest.mark.parametrize("told", ["[always] madvise never", "always [madvise] never"])
def test_what_a_process_has_is_the_same_on_large_pages(told, tmp_path):
    before, after, same, can = settled(told, tmp_path)

    assert same == b"True"
    if can == b"True":
        assert int(after) > int(before)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
@pytest.mark.parametrize("told", ["always madvise [never]", ""])
def test_an_operator_who_wants_none_gets_none(told, tmp_path):
    before, after, same, _ = settled(told, tmp_path)

    assert same == b"True"
    assert before == after


def settled(told, tmp_path):
    """KiB on large pages before and after, whether memory is as it was, and whether this system can
    at all: told of a page of ours, it says so. Told "": no choice is to be found."""
    choice = tmp_path / "enabled"
    if told:
        choice.write_text(told)
    program = f"""
import ctypes, mmap
from llm_service.bootstrap import memory
memory._CHOICE = {str(choice)!r}
kept = [bytes([number % 251]) * 400 for number in range(40960)]
page = mmap.mmap(-1, 2 * memory._HUGE)
page.write(bytes(len(page)))
start = -(-ctypes.addressof(ctypes.c_char.from_buffer(page)) // memory._HUGE) * memory._HUGE
advise = ctypes.CDLL(None).madvise
size = ctypes.c_size_t(memory._HUGE)
can = advise(ctypes.c_size_t(start), size, memory._MADV_COLLAPSE) == 0
def large():
    with open("/proc/self/smaps") as told:
        return sum(int(line.split()[1]) for line in told if line.startswith("AnonHugePages"))
before = large()
memory.settle()
print(before, large(), all(one == bytes([n % 251]) * 400 for n, one in enumerate(kept)), can)
"""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True
    ).stdout.split()
