"""Who is let in: what the settings say of it, made into an authenticator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from llm_service.bootstrap import parts
from llm_service.bootstrap.foundation import Foundation
from llm_service.bootstrap.keys import vault_of
from llm_service.bootstrap.schema import prepare_schema
from llm_service.bootstrap.trouble import CannotStart, DatabaseAway
from llm_service.errors import EgressDenied, GatewayError, StorageUnavailable
from llm_service.gateway.access import key_sets
from llm_service.gateway.access.authenticator import Authenticator
from llm_service.gateway.access.client_keys import ClientKeys
from llm_service.gateway.access.identities import BadIdentities, Identities
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.gateway.access.tokens import TokenRules, Tokens
from llm_service.providers.egress import Egress
from llm_service.rpc.authentication import Authentication
from llm_service.rpc.callers import Authenticate, anyone
from llm_service.settings import Settings
from llm_service.storage.database import Database


@dataclass(frozen=True, slots=True)
class Access:
    """Keys as they are administered, as calls are checked against them, and the check itself."""

    keys: ClientKeys
    known: KnownKeys
    authenticate: Authenticate


async def access_of(settings: Settings, base: Foundation, notes: list[str]) -> Access:
    """How callers are told apart.

    Raises:
        CannotStart: nobody could call, or what the settings name cannot be used.
    """
    database, vault = base.database, base.vault
    keys, known = ClientKeys(database, vault), KnownKeys(database)
    if settings.auth == "open":
        notes.append("open: whoever reaches it may do everything (LLM_AUTH=required asks for keys)")
        return Access(keys, known, anyone)
    tokens = _tokens(settings, base.egress)
    identities = await asyncio.to_thread(_identities, settings.auth_identities_file)
    if vault.pepper() is None and tokens is None and identities is None:
        raise CannotStart(
            "nobody could call: client keys need an encryption key (LLM_KEYRING_FILE), and neither "
            "LLM_JWT_ISSUER nor LLM_AUTH_IDENTITIES_FILE is set"
        )
    try:
        await known.refresh()
    except GatewayError as error:
        if base.start.last is None:
            raise CannotStart(str(error)) from error
        known.restore(base.start.last.client_keys)
    authenticator = Authenticator(known, vault, tokens=tokens, identities=identities)
    return Access(keys, known, Authentication(authenticator))


async def first_key(settings: Settings) -> list[str]:
    """A note with the text of a first key, where nobody could call without one."""
    if settings.auth == "open" or settings.jwt_issuer or settings.auth_identities_file:
        return []
    try:
        async with client_keys(settings) as keys:
            text = await keys.create_first()
    except (DatabaseAway, StorageUnavailable):
        return []  # whoever starts from a snapshot had a first key long ago
    if not text:
        return []
    return [f"made the first client key; it may do everything, and is shown this once: {text}"]


@asynccontextmanager
async def client_keys(settings: Settings) -> AsyncIterator[ClientKeys]:
    """Administers keys in the database itself, beside a service or before there is one.

    Raises:
        CannotStart: the database or the key ring cannot be used.
    """
    notes: list[str] = []
    fresh = await prepare_schema(settings, notes)
    async with Database.open(settings.database_url) as database:
        vault = await vault_of(settings, database, notes)
        parts.audit(database, vault)
        if fresh:  # whoever makes a new database fills it: the service will not find it new
            egress = Egress(settings.egress_allow)
            administration = parts.administration(settings, database, vault, egress)
            await parts.seeds(settings, database, administration).plant()
        yield ClientKeys(database, vault)


def _tokens(settings: Settings, egress: Egress) -> Tokens | None:
    if not settings.jwt_issuer:
        return None
    rules = TokenRules(
        settings.jwt_issuer,
        settings.jwt_audience,
        frozenset(settings.jwt_algorithms),
        settings.jwt_tenant_claim,
        settings.jwt_roles_claim,
    )
    if not settings.jwt_keys.startswith("https://"):
        return Tokens(rules, key_sets.KeySet(key_sets.from_file(Path(settings.jwt_keys))))
    try:
        fetch = key_sets.from_address(settings.jwt_keys, egress)
    except (EgressDenied, ValueError) as error:
        raise CannotStart(f"LLM_JWT_KEYS: {error}") from error
    return Tokens(rules, key_sets.KeySet(fetch))


def _identities(file: Path | None) -> Identities | None:
    if file is None:
        return None
    try:
        return Identities.from_text(file.read_text("utf-8"))
    except BadIdentities as error:
        raise CannotStart(f"{file}: {error}") from error
    except UnicodeDecodeError as error:
        raise CannotStart(f"{file}: is not text") from error
    except OSError as error:
        raise CannotStart(f"{file}: {error.strerror}") from error
