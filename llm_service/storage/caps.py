"""How many rows a tenant has, among others that add some at the same time."""

import hashlib

from sqlalchemy import Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def count_alone(connection: AsyncConnection, table: Table, tenant: str) -> int:
    """How many a tenant has; others who ask that wait until this transaction ends.

    So whoever adds one and asks then knows all that will be there with it, if all do so.
    """
    if connection.dialect.name == "postgresql":  # on SQLite there is one writer at a time
        of = hashlib.sha256(f"{table.name}/{tenant}".encode()).digest()[:8]
        lock = func.pg_advisory_xact_lock(int.from_bytes(of, signed=True))
        await connection.execute(select(lock))
    counted = select(func.count()).select_from(table).where(table.c.tenant == tenant)
    return int((await connection.execute(counted)).scalar_one())
