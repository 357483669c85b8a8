"""E6: a credential points only where the operator lets it, and learns nothing of the rest."""

import re

import pytest

from llm_service.domain.access import CALLER, Caller, Principal, Role
from llm_service.domain.provider import SecretReference, SourceType
from llm_service.gateway.admin.drafts import Source
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.secret_stores import SecretStores
from llm_service.gateway.secret_stores.files import MountedFiles
from llm_service.providers import provider_kind
from llm_service.rpc.stubs.provider_pb2 import Credential
from llm_service.rpc.stubs.provider_pb2 import SecretReference as Place
from llm_service.vault import Vault
from tests.rpc.administered import ENVIRONMENT, administered, as_text, refusal
from tests.rpc.credential_calls import NAME, admin_of_one_provider, created, got, rotated, updated

OPENAI = provider_kind("openai")
THERE = [
    "PATH",
    "HOME",
    "LLM_DATABASE_URL",
    "LLM_ENCRYPTION_KEY",
    "ENCRYPTION_KEY",
    "LLM_KEYRING_FILE",
    "LLM_VAULT_TOKEN_FILE",
    "DATABASE_URL",
    "AWS_SECRET_ACCESS_KEY",
]
ODD = [
    "",
    " ",
    "../etc/passwd",
    "/etc/passwd",
    "file:///etc/passwd",
    "os.environ/PATH",
    "$PATH",
    "${PATH}",
    "$(id)",
    "%PATH%",
    "OPENAI_API_KEY ",
    " OPENAI_API_KEY",
    "openai_api_key",
    "OPENAI_API_KEY\n",
    "OPENAI_API_KEY;PATH",
    "ОPENAI_API_KEY",  # noqa: RUF001 - its first letter is Cyrillic
    "OPENAI_API_KEＹ",  # noqa: RUF001 - its last letter is wide
    "OPENAI\u200b_API_KEY",
    "*",
    "OPENAI_*",
]
FORBIDDEN = [*THERE, *ODD, *(f"NAME_{number}" for number in range(200 - len(THERE) - len(ODD)))]


@pytest.fixture
async def admin(service):
    return await admin_of_one_provider(service)


async def test_e6_two_hundred_names_are_refused_alike(service, admin, monkeypatch):
    for name in THERE:
        monkeypatch.setenv(name, "canary-of-the-environment")

    refusals = [await refusal(created(admin, environment_variable=name)) for name in FORBIDDEN]

    told = {without_trace(refused.text) for refused in refusals}
    assert len(FORBIDDEN) == len(set(FORBIDDEN)) == 200
    assert len(told) == 1, "which exist is nobody's business"
    assert {refused.reason for refused in refusals} == {"INVALID_FIELD"}
    assert "canary" not in told.pop()
    assert (await refusal(got(admin))).reason == "RESOURCE_NOT_FOUND"
    assert not service.vendor.accounts


def without_trace(text: str) -> str:
    return re.sub(r"'llmservice-trace-id': '[0-9a-f]{32}'", "", text)


@pytest.fixture
def lent(tmp_path):
    folder = tmp_path / "lent"
    folder.mkdir()
    (folder / "there").write_text("sk-mounted-canary")
    return folder


@pytest.fixture
async def lending(database_url, lent):
    async with administered(database_url, secret_stores=stores(lent)) as service:
        yield await admin_of_one_provider(service)


def stores(folder):
    return SecretStores({"file": MountedFiles([folder])})


async def test_an_external_secret_is_shown_by_its_place_and_never_read_out(lending, lent):
    place = Place(store="file", path=f"{lent}/there")

    credential = await created(lending, secret_reference=place)

    assert credential.secret_reference == place
    assert credential.source_type == Credential.SOURCE_TYPE_SECRET_REFERENCE
    assert credential.state == Credential.STATE_ACTIVE
    assert not credential.secret_set
    assert "canary" not in as_text(await got(lending))


async def test_a_place_may_come_back_with_the_credential_that_was_read_and_no_other(lending, lent):
    credential = await created(lending, secret_reference=Place(store="file", path=f"{lent}/there"))
    credential.display_name = "Mounted"

    assert (await updated(lending, credential)).display_name == "Mounted"
    credential.secret_reference.path, credential.etag = f"{lent}/other", ""
    refused = await refusal(updated(lending, credential))

    assert refused.fields == ("credential.secret_reference",)


async def test_a_secret_may_be_rotated_into_an_external_one(lending, lent):
    await created(lending)

    after = await rotated(lending, secret_reference=Place(store="file", path=f"{lent}/there"))

    assert after.name == NAME
    assert not after.secret_set
    assert after.obfuscated_secret == ""


@pytest.mark.parametrize(
    "path", ["{0}/../outside", "/etc/passwd", "{0}", "there", "{0}/" + "long/" * 1000 + "x"]
)
async def test_e6_a_place_outside_what_is_lent_is_refused(lending, lent, path):
    place = Place(store="file", path=path.format(lent))

    refused = await refusal(created(lending, secret_reference=place))

    assert refused.reason == "INVALID_FIELD"
    assert refused.fields == ("credential.secret_reference",)


async def test_e6_whether_a_file_is_there_is_not_told(lending, lent):
    for number, name in enumerate(("there", "not-there")):
        place = Place(store="file", path=f"{lent}/{name}")
        credential = await created(lending, f"c{number}", secret_reference=place)
        assert credential.state == Credential.STATE_ACTIVE


@pytest.mark.parametrize(
    "source",
    [
        Source(SourceType.ENVIRONMENT_VARIABLE, reference="OPENAI_API_KEY"),
        Source(SourceType.SECRET_REFERENCE, reference=SecretReference("file", "{}/there").text),
        Source(SourceType.WORKLOAD_IDENTITY),
    ],
    ids=lambda source: source.type,
)
async def test_e6_only_the_operator_points_at_what_is_the_operators(lent, source):
    source = Source(source.type, reference=source.reference.replace("{}", str(lent)))
    kind = provider_kind("bedrock")
    secrets = Secrets(
        Vault(None, "d"), ENVIRONMENT, workload_identity=True, secret_stores=stores(lent)
    )

    assert list(secrets.check(source, kind)) == []
    token = CALLER.set(Caller(Principal("clientKeys/acme", "acme", frozenset(Role))))
    try:
        (violation,) = secrets.check(source, kind)
    finally:
        CALLER.reset(token)

    assert violation.field == f"credential.{source.type}"
