"""How Alembic reaches the database: the connection it is handed, or `-x url=...`."""

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.pool import NullPool

from alembic import context
from llm_service.storage.tables import METADATA

PARTS = "usage_records_"


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """The months of a table are not tables of their own, nor is what its triggers note."""
    return kind != "table" or not (name or "").startswith(PARTS)


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        compare_type=True,
        compare_server_default=True,
        include_name=is_ours,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def connect() -> None:
    url = make_url(context.get_x_argument(as_dictionary=True)["url"])
    if url.get_backend_name() == "sqlite":
        url = url.set(drivername="sqlite")
    engine = create_engine(url, hide_parameters=True, poolclass=NullPool)
    with engine.connect() as connection:
        run(connection)


if (handed := context.config.attributes.get("connection")) is not None:
    run(handed)
else:
    connect()
