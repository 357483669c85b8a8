"""The secrets of credentials: checked, sealed for storage, and shown by their ends at most."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from llm_service.domain.access import CALLER, EVERY_TENANT
from llm_service.domain.provider import (
    SEALED_SOURCES,
    Credential,
    Provider,
    ProviderKind,
    SecretReference,
    SourceType,
)
from llm_service.errors import Violation
from llm_service.gateway.admin.drafts import Source
from llm_service.gateway.destinations import destination
from llm_service.gateway.manager import binding
from llm_service.gateway.secret_stores import NO_STORES, SecretStores
from llm_service.vault import Vault

MAX_KEY_LENGTH = 4096  # characters
MAX_DOCUMENT_LENGTH = 16 * 1024
MIN_SHOWN_LENGTH = 20
"""Of a shorter secret, four characters would be too much to show."""

_KEY = re.compile(r"[\x21-\x7e]+")
_VENDOR_FORMS = ("sk-ant-", "sk-proj-", "sk-or-", "sk-", "gsk_", "xai-", "AIza", "AKIA", "ASIA")


class Secrets:
    """The vault, and what the operator lets credentials point to.

    That is environment variables by name, places in external stores, and with `workload_identity`
    the service's own identity. All of it is the operator's, so no tenant's own caller may name any.
    """

    def __init__(
        self,
        vault: Vault,
        allowed_environment: Collection[str] = (),
        *,
        workload_identity: bool = False,
        secret_stores: SecretStores = NO_STORES,
    ) -> None:
        self._vault = vault
        self._allowed = frozenset(allowed_environment)
        self._workload_identity = workload_identity
        self._secret_stores = secret_stores

    def check(self, source: Source, kind: ProviderKind) -> Iterator[Violation]:
        """What is wrong with a source, without a word of the secret."""
        if source.type not in kind.credential_source_types:
            taken = ", ".join(kind.credential_source_types) or "no credentials"
            yield Violation(f"credential.{source.type}", f"kind {kind.kind} takes {taken}")
        elif source.type not in SEALED_SOURCES:
            yield from self._check_pointer(source)
        elif source.type is SourceType.AWS_KEY:
            yield from _check_aws_key(source.secret)
        elif source.type is SourceType.SERVICE_ACCOUNT_JSON:
            yield from _check_document(source.secret)
        else:
            yield from _check_key("credential.api_key", source.secret)

    def _check_pointer(self, source: Source) -> Iterator[Violation]:
        field = f"credential.{source.type}"
        is_operator = CALLER.get().principal.tenant == EVERY_TENANT
        if source.type is SourceType.ENVIRONMENT_VARIABLE:
            # The same words whether it is unknown or forbidden: which exist is nobody's business.
            if source.reference not in self._allowed or not is_operator:
                yield Violation(field, "is not on the operator's allow-list")
        elif source.type is SourceType.SECRET_REFERENCE:
            why = self._secret_stores.refuse(SecretReference.of_text(source.reference))
            if len(source.reference) > MAX_KEY_LENGTH:
                yield Violation(field, f"is longer than {MAX_KEY_LENGTH} characters")
            elif why or not is_operator:
                yield Violation(field, why or "is not lent to a tenant")
        elif not self._workload_identity or not is_operator:
            yield Violation(field, "is not lent: the operator has LLM_ALLOW_WORKLOAD_IDENTITY off")
        elif source.reference:
            yield from _check_key(f"{field}.audience", source.reference)

    def stored(self, provider: Provider, credential: Credential, source: Source) -> Credential:
        """The credential with this source in place of any other, for where the provider is now.

        A secret is sealed to its row, its version and that address.

        Raises:
            EncryptionKeyMissing: a secret must be sealed, and there is no key to do it with.
        """
        bound = replace(
            credential,
            source_type=source.type,
            sealed="",
            reference=source.reference,
            origin=destination(provider),
            obfuscated_secret=_obfuscated(source),
            rejected=False,
        )
        if source.type not in SEALED_SOURCES:
            return bound
        return replace(bound, sealed=self._vault.seal(source.secret, binding(provider, bound)))

    def copied(self, provider: Provider, credential: Credential, copy: Credential) -> Credential:
        """`copy` with the secret of `credential`, sealed to its own row.

        Raises:
            ProviderCredentialUnreadable: the stored secret cannot be opened.
        """
        if not credential.sealed:
            return copy
        secret = self._vault.open(credential.sealed, binding(provider, credential))
        return replace(copy, sealed=self._vault.seal(secret, binding(provider, copy)))


def _check_key(field: str, key: str) -> Iterator[Violation]:
    if not key:
        yield Violation(field, "must not be empty")
    elif len(key) > MAX_KEY_LENGTH:
        yield Violation(field, f"is longer than {MAX_KEY_LENGTH} characters")
    elif not _KEY.fullmatch(key):
        yield Violation(field, "must be printable ASCII without spaces or line breaks")


def _check_aws_key(secret: str) -> Iterator[Violation]:
    parts: dict[str, str] = json.loads(secret)
    for name, key in parts.items():
        if key or name != "session_token":
            yield from _check_key(f"credential.aws_key.{name}", key)


def _check_document(text: str) -> Iterator[Violation]:
    field = "credential.service_account_json"
    if len(text.encode()) > MAX_DOCUMENT_LENGTH:
        yield Violation(field, f"is longer than {MAX_DOCUMENT_LENGTH} bytes")
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        yield Violation(field, "must be a JSON object")


def _obfuscated(source: Source) -> str:
    """At most a vendor's well-known prefix and the last four characters."""
    if source.type is SourceType.AWS_KEY:
        shown = str(json.loads(source.secret)["access_key_id"])
    elif source.type is SourceType.API_KEY:
        shown = source.secret
    else:
        return ""
    if len(shown) < MIN_SHOWN_LENGTH:
        return ""
    prefix = next((form for form in _VENDOR_FORMS if shown.startswith(form)), "")
    return f"{prefix}...{shown[-4:]}"
