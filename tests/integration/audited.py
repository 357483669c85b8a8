"""Audit logs over a database, and what somebody with that database's password does to them."""

from sqlalchemy import create_engine, make_url, text

from llm_service.domain.access import Caller, Principal
from llm_service.gateway.audit.log import AdminCall
from llm_service.vault import Keyring, Scheme, Vault, generate_key

SYNC = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
OLD, NEW = generate_key(Scheme.FERNET_V1), generate_key(Scheme.FERNET_V1)
ALICE = Caller(Principal("clientKeys/alice"), "/llmservice.v1.S/M", "ipv4:10.0.0.7:4711", "t" * 32)


def a_vault(*keys: str) -> Vault:
    """The last key is the primary one."""
    lines = [f"k{n} fernet-v1 {key}" for n, key in enumerate(keys, start=1)]
    return Vault(Keyring.from_text("\n".join(lines) + " primary"), "deployment")


def execute(url: str, *statements: str, **values):
    """What somebody with the database's own password does; gives the last statement's rows."""
    engine = create_engine(make_url(url).set(drivername=SYNC[make_url(url).get_backend_name()]))
    try:
        with engine.begin() as connection:
            for statement in statements:
                result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []
    finally:
        engine.dispose()


def disarm(url: str) -> None:
    """Switch off what keeps entries from being touched, as the tables' owner can."""
    if url.startswith("postgresql"):
        execute(
            url,
            "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
            "ALTER TABLE audit_chains DISABLE TRIGGER ALL",
            "GRANT ALL ON audit_entries, audit_chains TO CURRENT_USER",
        )
        return
    for (name,) in execute(url, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        execute(url, f"DROP TRIGGER {name}")


async def tried(log, count=1, tenant="acme"):
    """Entries of calls that were refused."""
    for _ in range(count):
        call = AdminCall(ALICE, f"tenants/{tenant}/providers/one", tenant)
        await log.ended(call, "INVALID_FIELD")


async def verdict(log, tenant="acme", *anchors):
    (found,) = [one async for one in log.verify(tenant, anchors)]
    return found
