"""On SQLite, what sums up records notes up to which row that is.

A trigger on the table of records noted it with the first row that is not. SQLite has each row of a
table with a trigger keep copies of the pages that it changes, one for every index, and from some
size on in a file: that cost a third of what storing the row did.
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("DELETE FROM usage_records_unsummed")  # sums up what a writer has left
    op.execute("DROP TRIGGER note_usage")
    op.execute("DROP TRIGGER sum_usage")
    op.execute(NOTE)
    op.execute(f"{_trigger('0022', 'SQLITE_TRIGGER').removesuffix('END')}  {NOTE};\nEND")


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("DELETE FROM usage_records_unsummed")
    op.execute("DROP TRIGGER sum_usage")
    op.execute("DELETE FROM usage_records_unsummed")
    op.execute(_trigger("0022", "SQLITE_TRIGGER"))
    op.execute(_trigger("0020", "NOTE"))


def _trigger(revision: str, name: str) -> str:
    script = op.get_context().script
    assert script is not None  # noqa: S101 - for the type checker
    found: str = getattr(script.get_revision(revision).module, name)
    return found


NOTE = "INSERT INTO usage_records_unsummed SELECT coalesce(max(rowid), 0) FROM usage_records"
