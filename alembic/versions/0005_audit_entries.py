"""Audit entries: chained, and only ever added to."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")

SQLITE_TRIGGERS = (
    """CREATE TRIGGER audit_entries_update BEFORE UPDATE ON audit_entries
    BEGIN SELECT RAISE(ABORT, 'audit entries are only ever added'); END""",
    """CREATE TRIGGER audit_entries_delete BEFORE DELETE ON audit_entries
    BEGIN SELECT RAISE(ABORT, 'audit entries are only ever added'); END""",
    # REPLACE deletes without telling the trigger above.
    """CREATE TRIGGER audit_entries_insert BEFORE INSERT ON audit_entries
    WHEN EXISTS (SELECT 1 FROM audit_entries
                 WHERE tenant = NEW.tenant AND sequence = NEW.sequence)
    BEGIN SELECT RAISE(ABORT, 'audit entries are only ever added'); END""",
    """CREATE TRIGGER audit_chains_update BEFORE UPDATE ON audit_chains
    WHEN NEW.tenant <> OLD.tenant OR NEW.sequence <> OLD.sequence + 1
    BEGIN SELECT RAISE(ABORT, 'audit chains only ever grow'); END""",
    """CREATE TRIGGER audit_chains_delete BEFORE DELETE ON audit_chains
    BEGIN SELECT RAISE(ABORT, 'audit chains only ever grow'); END""",
)
POSTGRESQL_TRIGGERS = (
    """CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'audit entries are only ever added' USING ERRCODE = 'insufficient_privilege';
    END $$""",
    """CREATE TRIGGER audit_entries_rows BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION audit_only_grows()""",
    """CREATE TRIGGER audit_entries_all BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()""",
    """CREATE TRIGGER audit_chains_update BEFORE UPDATE ON audit_chains FOR EACH ROW
    WHEN (NEW.tenant <> OLD.tenant OR NEW.sequence <> OLD.sequence + 1)
    EXECUTE FUNCTION audit_only_grows()""",
    """CREATE TRIGGER audit_chains_delete BEFORE DELETE ON audit_chains
    FOR EACH ROW EXECUTE FUNCTION audit_only_grows()""",
    """CREATE TRIGGER audit_chains_all BEFORE TRUNCATE ON audit_chains
    FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()""",
    "REVOKE UPDATE, DELETE, TRUNCATE ON audit_entries FROM PUBLIC, CURRENT_USER",
    "REVOKE DELETE, TRUNCATE ON audit_chains FROM PUBLIC, CURRENT_USER",
)


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    create_entries()
    create_chains()
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in SQLITE_TRIGGERS if on_sqlite else POSTGRESQL_TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit_chains")
    op.drop_table("audit_entries")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_only_grows()")


def create_entries() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("sequence", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("principal", string(512), nullable=False),
        sa.Column("peer_ip_address", string(64), nullable=False),
        sa.Column("method", string(256), nullable=False),
        sa.Column("resource", string(512), nullable=False),
        sa.Column("changed_resources", JSON, nullable=False),
        sa.Column("changes", sa.Text, nullable=False),
        sa.Column("error_reason", string(64), nullable=False),
        sa.Column("request_id", string(128), nullable=False),
        sa.Column("trace_id", string(32), nullable=False),
        sa.Column("key_id", string(64), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("digest", string(64), nullable=False),
        sa.Column("seal", string(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "sequence", name=op.f("pk_audit_entries")),
    )
    op.create_index(
        op.f("ix_audit_entries_tenant_create_time_sequence"),
        "audit_entries",
        ["tenant", "create_time", "sequence"],
    )
    op.create_index(
        op.f("ix_audit_entries_create_time_tenant_sequence"),
        "audit_entries",
        ["create_time", "tenant", "sequence"],
    )


def create_chains() -> None:
    op.create_table(
        "audit_chains",
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("digest", string(64), nullable=False),
        sa.Column("key_id", string(64), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_audit_chains")),
    )
