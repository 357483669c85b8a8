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
def test_what_a_process_has_is_the_same_on_large_pages():
    program = (
        "from llm_service.bootstrap import memory;"
        "kept = [bytes([number % 251]) * 4096 for number in range(4096)];"
        "memory.settle();"
        "print(all(one == bytes([n % 251]) * 4096 for n, one in enumerate(kept)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert ran.stdout.split() == [b"True"]
