"""What a serving process does for its memory as a whole."""

import subprocess
import sys

import pytest

from tests.e2e.process import environment_in

_SERVED = """
import asyncio, gc, os, signal
from llm_service import bootstrap
from llm_service.settings import Settings

def announced(address, notes):
    before = len(gc.get_objects())
    print(gc.get_freeze_count() > 10 * before)
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

asyncio.run(bootstrap.serve(Settings.from_env(os.environ), announced))
"""

_HEAPS = """
import ctypes, threading
from llm_service import serving
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
all_have = threading.Barrier(4)

def allocate():
    libc.malloc(100)
    all_have.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
[one.start() for one in threads]
[one.join() for one in threads]
libc.malloc_stats()
"""


def test_the_collector_does_not_look_again_at_what_the_start_has_made(tmp_path):
    ran = run(_SERVED, environment_in(tmp_path, {}))

    assert ran.stdout.split() == ["True"], ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc's malloc")
def test_threads_allocate_from_one_heap_unless_the_operator_says_otherwise(tmp_path):
    together = _HEAPS.format(before="serving.keep_memory_together()")
    chosen = environment_in(tmp_path, {"MALLOC_ARENA_MAX": "8"})

    assert heaps(together, environment_in(tmp_path, {})) == 1
    assert heaps(together, chosen) > 1
    assert heaps(_HEAPS.format(before=""), environment_in(tmp_path, {})) > 1


def heaps(program, environment) -> int:
    return run(program, environment).stderr.count("Arena ")


def run(program, environment):
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
