"""What an audit entry shows of a resource, and never of its secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.provider import SourceType
from llm_service.gateway.admin.drafts import Source
from llm_service.gateway.admin.secrets import Secrets
from llm_service.rpc import audits
from llm_service.rpc.convert.audit import render
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.model_pb2 import Model
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.fakes import a_credential, a_provider

VAULT = Vault(Keyring.from_text(generate_key(Scheme.FERNET_V1)), "deployment")
PROVIDER = a_provider(kind="openai", tenant="acme")
ODD = "#%&!?~^*"  # in no word that an entry has of its own


@given(key=st.text(ODD, min_size=1, max_size=60), prefix=st.sampled_from(["", "sk-", "gsk_"]))
def test_s8_of_any_key_at_most_four_characters_are_shown(key, prefix):
    source = Source(SourceType.API_KEY, secret=prefix + key)

    stored = Secrets(VAULT).stored(PROVIDER, a_credential(PROVIDER), source)
    name, fields = render(stored)
    shown = f"{name} {stored!r} {json.dumps({k: str(v) for k, v in fields.items()})}"

    assert sum(character in ODD for character in fields.get("obfuscated_secret", "")) <= 4
    assert not any(key[i : i + 5] in shown for i in range(len(key) - 4))
    assert str(fields["api_key"]) == '"[redacted]"'


@given(document=st.text(ODD, min_size=5, max_size=60))
def test_s8_of_a_document_nothing_is_shown(document):
    source = Source(SourceType.SERVICE_ACCOUNT_JSON, secret=json.dumps({"private_key": document}))

    _, fields = render(Secrets(VAULT).stored(PROVIDER, a_credential(PROVIDER), source))

    assert not set(str({k: str(v) for k, v in fields.items()})) & set(ODD)


@pytest.mark.parametrize(
    ("request_", "resource"),
    [
        (pb.CreateProviderRequest(provider_id="a"), "providers/a"),
        (pb.CreateProviderRequest(parent="tenants/t", provider_id="a"), "tenants/t/providers/a"),
        (pb.CreateProviderRequest(), "providers"),
        (
            pb.CreateCredentialRequest(parent="providers/a", credential_id="b"),
            "providers/a/credentials/b",
        ),
        (pb.UpdateProviderRequest(provider=Provider(name="providers/a")), "providers/a"),
        (pb.UpdateModelRequest(model=Model(name="providers/a/models/m")), "providers/a/models/m"),
        (
            pb.RotateCredentialRequest(name="providers/a", credential=Credential(name="other")),
            "providers/a",
        ),
        (pb.DeleteProviderRequest(name="providers/a"), "providers/a"),
        (pb.BatchDeleteProvidersRequest(parent="tenants/-"), "tenants/-"),
        (pb.BatchDeleteProvidersRequest(), ""),
    ],
)
def test_a_request_names_its_resource(request_, resource):
    assert audits.resource_of(request_) == resource


@pytest.mark.parametrize(
    ("method", "audited"),
    [
        ("/llmservice.v1.ProviderAdminService/CreateProvider", True),
        ("/llmservice.v1.ProviderAdminService/GetProvider", False),
        ("/llmservice.v1.CompletionService/Complete", False),
        ("/llmservice.v1.EmbeddingService/Embed", False),
        ("/llmservice.v1.AuditService/VerifyAudit", False),
        ("/grpc.health.v1.Health/Check", False),
    ],
)
def test_what_does_not_only_read_is_administration(method, audited):
    assert audits.is_audited(method) is audited
