"""What holds for every kind of provider."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys

import pytest

from llm_service import errors, providers
from llm_service.domain.provider import ProviderKind
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress

HEAVY = {
    "anthropic",
    "boto3",
    "botocore",
    "google.genai",
    "httpx2",
    "openai",
    "pydantic",
    "requests",
    "tiktoken",
}


@pytest.fixture
async def egress():
    egress = Egress()
    yield egress
    await egress.aclose()


def modules() -> dict:
    found = pkgutil.iter_modules(providers.__path__, "llm_service.providers.")
    return {info.name.rpartition(".")[2]: importlib.import_module(info.name) for info in found}


def test_a_module_is_a_kind_exactly_when_it_has_one():
    with_kind = {
        name
        for name, module in modules().items()
        if isinstance(vars(module).get("KIND"), ProviderKind)
    }

    assert {name.replace("_", "-") for name in with_kind} == set(providers.kinds())
    assert {"echo", "openai", "openai-compatible"} <= set(providers.kinds())


@pytest.mark.parametrize("kind", providers.kinds())
def test_a_kind_says_what_it_is(kind):
    said = providers.provider_kind(kind)

    assert said.kind == kind
    assert re.fullmatch(r"[a-z][a-z0-9-]*", kind)
    assert said.display_name
    assert said.telemetry_name
    schema = json.loads(said.settings_schema_json)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert all(setting["description"] for setting in schema["properties"].values())


@pytest.mark.parametrize("kind", providers.kinds())
async def test_a_kind_connects_without_dialling_and_without_a_key(kind, egress):
    adapter = providers.connect(kind, Account("https://vendor.example/v1"), egress)

    await adapter.aclose()


@pytest.mark.parametrize("kind", providers.kinds())
async def test_a_kind_refuses_a_setting_it_does_not_know(kind, egress):
    with pytest.raises(errors.InvalidField) as failure:
        providers.connect(kind, Account("https://vendor.example/v1", {"no_such": "x"}), egress)

    assert failure.value.violations[0].field == "provider.settings.no_such"


def test_importing_every_kind_is_cheap_and_imports_no_vendors_library():
    program = (
        "import sys, time\n"
        "began = time.process_time()\n"
        "import llm_service.bootstrap\n"
        "ready = time.process_time()\n"
        "from llm_service import providers\n"
        "for kind in providers.kinds(): providers.provider_kind(kind)\n"
        "kinds = time.process_time() - ready\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\n"
        "slow = kinds > ready - began\n"
        "sys.exit(f'{heavy} {kinds} s' if heavy or slow else 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("alias", "kind"), providers.ALIASES.items())
def test_an_alias_stands_for_a_kind(alias, kind):
    assert providers.canonical(alias) == kind


def test_a_kind_is_its_own_name():
    assert providers.canonical("openai") == "openai"
    assert providers.provider_kind("mock").kind == "echo"


@pytest.mark.parametrize("kind", ["", "nobody", "base", "chat", "os", "../echo", "OpenAI"])
def test_any_other_word_is_refused_and_the_kinds_are_named(kind):
    with pytest.raises(errors.InvalidField) as failure:
        providers.provider_kind(kind)

    (violation,) = failure.value.violations
    assert violation.field == "provider.kind"
    assert all(known in violation.description for known in providers.kinds())


def test_the_secret_of_an_account_is_not_in_its_repr():
    assert "sk-secret" not in repr(Account("", {}, "sk-secret"))
