"""What every proto file must keep to, and the reference made from its comments."""

import pytest
from google.protobuf import descriptor_pb2 as pb

from tools import gen_api_docs

NOT_SECRET = {
    "GetKeyringStatusResponse.keys",
    "KeyringReplica.key_ids",
    "KeyringReplica.primary_key_id",
    "AuditEntry.sealing_key_id",  # names the key
    "AwsKey.access_key_id",  # names the key
    "CallError.provider_code",
    "Circuit.first_token_duration",
    "CreateClientKeyRequest.client_key",  # the resource; its text is redacted
    "CreateClientKeyResponse.client_key",
    "Credential.obfuscated_secret",  # made to be shown
    "Credential.secret_reference",  # a place, not the secret
    "Credential.secret_set",
    "GetClientKeyResponse.client_key",
    "ListClientKeysResponse.client_keys",
    "RevokeClientKeyResponse.client_key",
    "RoutingOptions.affinity_key",
    "SecretReference.key",
    "TokenLogprob.token",
    "TokenLogprob.token_bytes",
    "AlternativeToken.token",
    "AlternativeToken.token_bytes",
    "CompletionRequest.first_token_timeout",
    "RoutingOptions.first_token_timeout",
    "UpstreamTimeouts.first_token_timeout",
    "ProviderHealth.first_token_p50",
    "Timings.first_token_duration",
    "UpdateClientKeyRequest.client_key",
    "UpdateClientKeyResponse.client_key",
    "UsageMetrics.first_token_p50",
    "UsageMetrics.first_token_p95",
}
PAGING = {"page_token", "next_page_token", "resume_token"}
TELLING = ("key", "secret", "token", "password", "service_account")
TELLING_TEXT = ("prompt", "authorization", "passphrase")
TEXTS = {pb.FieldDescriptorProto.TYPE_STRING, pb.FieldDescriptorProto.TYPE_BYTES}

DECLARED = gen_api_docs.load()
MESSAGES = [
    d
    for d in DECLARED
    if isinstance(d.descriptor, pb.DescriptorProto) and not d.descriptor.options.map_entry
]
SERVICES = [d for d in DECLARED if isinstance(d.descriptor, pb.ServiceDescriptorProto)]


def named(declared: gen_api_docs.Documented) -> str:
    return declared.name


@pytest.mark.parametrize("service", SERVICES, ids=named)
def test_every_service_and_rpc_has_a_comment(service):
    methods = zip(service.descriptor.method, service.parts, strict=True)

    assert service.comment
    assert [method.name for method, comment in methods if not comment] == []


@pytest.mark.parametrize("message", MESSAGES, ids=named)
def test_every_message_has_a_comment(message):
    assert message.comment


def test_every_error_reason_but_the_unspecified_has_a_comment():
    [reasons] = [d for d in DECLARED if d.name == "ErrorReason"]

    assert all(reasons.parts[1:])


def telling(field: pb.FieldDescriptorProto) -> tuple[str, ...]:
    return (*TELLING, *TELLING_TEXT) if field.type in TEXTS else TELLING


@pytest.mark.parametrize("message", MESSAGES, ids=named)
def test_every_field_that_sounds_secret_is_redacted_or_known_not_to_be(message):
    bare = {
        f"{message.name}.{field.name}"
        for field in message.descriptor.field
        if any(word in field.name.replace("tokens", "") for word in telling(field))
        and field.name not in PAGING
        and not field.options.debug_redact
    }

    assert bare <= NOT_SECRET


def test_the_api_reference_is_current():
    assert gen_api_docs.PAGE.read_text() == gen_api_docs.render(DECLARED)
