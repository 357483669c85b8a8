"""On SQLite, whoever sums up records notes up to which row that is.

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
    op.execute(
        "INSERT INTO usage_records_unsummed SELECT coalesce(max(rowid), 0) FROM usage_records"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("DELETE FROM usage_records_unsummed")
    script = op.get_context().script
    assert script is not None  # noqa: S101 - for the type checker
    op.execute(script.get_revision("0020").module.NOTE)
