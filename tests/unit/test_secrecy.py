"""What holds a secret stays in this process, and this process to itself."""

import json
import pickle
import subprocess
import sys

import pytest

from llm_service.domain.provider import SourceType
from llm_service.gateway.admin.drafts import Source
from llm_service.providers.aws import Key
from llm_service.providers.base import Account
from llm_service.vault import Keyring, Scheme, generate_key

RING_KEY = generate_key(Scheme.FERNET_V1)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Account("", secret="canary"), id="account"),
        pytest.param(Source(SourceType.API_KEY, "canary"), id="source"),
        pytest.param(Key("id", "canary"), id="aws-key"),
        pytest.param(Keyring.from_text(f"k fernet-v1 {RING_KEY}"), id="keyring"),
    ],
)
def test_s11_what_holds_a_secret_is_neither_printed_nor_pickled(value):
    assert "canary" not in repr(value)
    assert RING_KEY not in repr(value)
    with pytest.raises(TypeError):
        pickle.dumps(value)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's prctl")
def test_s11_a_serving_process_leaves_no_core_and_is_closed_to_others():
    program = (
        "import ctypes, json, resource; from llm_service import serving;"
        "serving.keep_memory_private();"
        "print(json.dumps([resource.getrlimit(resource.RLIMIT_CORE),"
        "ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)]))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert json.loads(ran.stdout) == [[0, 0], 0]
