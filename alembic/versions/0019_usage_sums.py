"""Daily sums of usage, and on PostgreSQL usage records by month.

The sums are kept by the database itself: a replica of the release before, which knows nothing of
them, writes into them as well.
"""

from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

MONTHS_AHEAD = 3
INDEXES = {
    "ix_usage_records_tenant_create_time_record_id": "(tenant, create_time, record_id)",
    "ix_usage_records_create_time_record_id": "(create_time, record_id)",
    "ix_usage_records_completion_id": "(completion_id)",
}
CELL = ("day", "tenant", "agent", "interaction", "operation", "provider", "model")
SUMS = (
    "attempt_count",
    "error_count",
    "fallback_count",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
    "cost_nano_usd",
    "failed_attempt_nano_usd",
    "reported_nano_usd",
    "reported_difference_nano_usd",
    "call_count",
    "provider_call_count",
    "model_call_count",
    "unpriced_call_count",
    "unpriced_provider_call_count",
    "unpriced_model_call_count",
)
_TOKENS = SUMS[3:9]
_WHO = "nullif(current_setting('llm.tenant', true), '')"
_OWN = f"{_WHO} = '*' OR tenant = {_WHO}"
_OF_OWN_CELL = (
    f"{_WHO} = '*' OR EXISTS (SELECT 1 FROM usage_days"  # noqa: S608 - our own words
    f" WHERE usage_days.cell = usage_day_durations.cell AND usage_days.tenant = {_WHO})"
)
_LOCK = 0x6C6C6D5F73756D73  # "llm_sums"


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("ix_usage_records_attempt_id", "usage_records")
        op.create_index(
            "ix_usage_records_attempt_id_start_time",
            "usage_records",
            ["attempt_id", "start_time"],
            unique=True,
        )
        create_sums()
        op.execute(SQLITE_TRIGGER)
        return
    prepare()
    partition()
    create_sums()
    for table, condition in (("usage_days", _OWN), ("usage_day_durations", _OF_OWN_CELL)):
        secure(table, condition)
    op.execute(POSTGRESQL_FUNCTION)
    op.execute(
        "CREATE TRIGGER sum_usage AFTER INSERT ON usage_records REFERENCING NEW TABLE AS inserted"
        " FOR EACH STATEMENT EXECUTE FUNCTION sum_usage()"
    )


def downgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute(f"DROP TRIGGER sum_usage {'' if on_sqlite else 'ON usage_records'}")
    if on_sqlite:
        op.drop_index("ix_usage_records_attempt_id_start_time", "usage_records")
        op.create_index("ix_usage_records_attempt_id", "usage_records", ["attempt_id"], unique=True)
    else:
        op.execute("DROP FUNCTION sum_usage()")
        unite()
    for table in ("usage_day_durations", "usage_days", "usage_bounds"):
        op.drop_table(table)


def create_sums() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "usage_days",
        sa.Column("cell", number, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        *(sa.Column(name, string(128), nullable=False) for name in CELL[1:4]),
        sa.Column("operation", string(32), nullable=False),
        *(sa.Column(name, string(512), nullable=False) for name in CELL[5:]),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint("cell", name="pk_usage_days"),
    )
    unique = ["tenant", "day", *CELL[2:]]
    op.create_index("ix_usage_days_cell", "usage_days", unique, unique=True)
    op.create_index("ix_usage_days_day", "usage_days", ["day"])
    op.create_table(
        "usage_day_durations",
        sa.Column("cell", number, autoincrement=False, nullable=False),
        sa.Column("rounded_us", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("duration_count", sa.BigInteger, nullable=False),
        sa.Column("first_token_count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("cell", "rounded_us", name="pk_usage_day_durations"),
    )
    bounds = op.create_table(
        "usage_bounds",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("summed_from", sa.Date, nullable=False),
        sa.Column("kept_from", sa.Date, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_usage_bounds_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_usage_bounds"),
    )
    # What is there already is summed up later, day by day; of today only a part is summed here.
    summed = now().date() + timedelta(days=1) if has_records() else date.min
    op.bulk_insert(bounds, [{"id": 1, "summed_from": summed, "kept_from": date.min}])


def prepare() -> None:
    """What takes long, while the table is in use: so that it need only be renamed and attached."""
    if not has_records():
        return
    until = first_of_next_month(now() + timedelta(days=1))
    with op.get_context().autocommit_block():
        for name, columns in (
            ("before_key", "(record_id, start_time)"),
            ("before_attempt", "(attempt_id, start_time)"),
        ):
            op.execute(f"DROP INDEX IF EXISTS usage_records_{name}")  # of a run that was cut off
            op.execute(
                f"CREATE UNIQUE INDEX CONCURRENTLY usage_records_{name} ON usage_records {columns}"
            )
        op.execute("ALTER TABLE usage_records DROP CONSTRAINT IF EXISTS ck_usage_records_before")
        op.execute(
            "ALTER TABLE usage_records ADD CONSTRAINT ck_usage_records_before"
            f" CHECK (start_time < '{until:%Y-%m-%d}T00:00:00Z') NOT VALID"
        )
        op.execute("ALTER TABLE usage_records VALIDATE CONSTRAINT ck_usage_records_before")


def partition() -> None:
    op.execute("LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE")
    until = prepared_until()
    old = f"usage_records_before_{until:%Y_%m}" if until else "usage_records_old"
    op.execute(f"ALTER TABLE usage_records RENAME TO {old}")
    op.execute("DROP INDEX ix_usage_records_attempt_id")
    op.execute(f"ALTER TABLE {old} RENAME CONSTRAINT pk_usage_records TO {old}_pkey")
    for name in INDEXES:
        op.execute(f"ALTER INDEX {name} RENAME TO before_{name}")
    op.execute(
        f"CREATE TABLE usage_records (LIKE {old} INCLUDING DEFAULTS)"
        " PARTITION BY RANGE (start_time)"
    )
    op.execute(
        "ALTER TABLE usage_records"
        " ADD CONSTRAINT pk_usage_records PRIMARY KEY (record_id, start_time)"
    )
    create_indexes("usage_records", "(attempt_id, start_time)")
    secure("usage_records", _OWN)
    if until:
        op.execute(
            f"ALTER TABLE {old} DROP CONSTRAINT {old}_pkey,"
            f" ADD CONSTRAINT {old}_pkey PRIMARY KEY USING INDEX usage_records_before_key"
        )
        attach(old, "MINVALUE", f"'{until:%Y-%m-%d}T00:00:00Z'")
        op.execute(f"ALTER TABLE {old} DROP CONSTRAINT ck_usage_records_before")
    else:
        op.execute(f"DROP TABLE {old}")
    op.execute("CREATE TABLE usage_records_rest PARTITION OF usage_records DEFAULT")
    secure("usage_records_rest", _OWN)
    month = until or now().date().replace(day=1)
    for _ in range(MONTHS_AHEAD + 1):
        following = first_of_next_month(month)
        name = f"usage_records_{month:%Y_%m}"
        op.execute(
            f"CREATE TABLE {name} PARTITION OF usage_records FOR VALUES"
            f" FROM ('{month:%Y-%m-%d}T00:00:00Z') TO ('{following:%Y-%m-%d}T00:00:00Z')"
        )
        secure(name, _OWN)
        month = following


def unite() -> None:
    """One table again, of what the months hold."""
    op.execute("LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE")
    op.execute("CREATE TABLE usage_records_united (LIKE usage_records INCLUDING DEFAULTS)")
    op.execute("INSERT INTO usage_records_united SELECT * FROM usage_records")
    op.execute("DROP TABLE usage_records")
    op.execute("ALTER TABLE usage_records_united RENAME TO usage_records")
    op.execute("ALTER TABLE usage_records ADD CONSTRAINT pk_usage_records PRIMARY KEY (record_id)")
    create_indexes("usage_records", "(attempt_id)")
    secure("usage_records", _OWN)


def create_indexes(table: str, attempt: str) -> None:
    for name, columns in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {table} {columns}")
    name = "ix_usage_records_" + attempt.strip("()").replace(", ", "_")
    op.execute(f"CREATE UNIQUE INDEX {name} ON {table} {attempt}")


def secure(table: str, condition: str) -> None:
    op.execute(f"DROP POLICY IF EXISTS tenant ON {table}")
    op.execute(f"CREATE POLICY tenant ON {table} USING ({condition})")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def attach(table: str, start: str, end: str) -> None:
    op.execute(
        f"ALTER TABLE usage_records ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end})"
    )


def has_records() -> bool:
    found = op.get_bind().execute(sa.text("SELECT EXISTS (SELECT 1 FROM usage_records)"))
    return bool(found.scalar())


def prepared_until() -> date | None:
    """The month that the old table ends before; None: it is empty."""
    if not has_records():
        return None
    op.execute("SET LOCAL datestyle = 'ISO'")
    found = op.get_bind().execute(
        sa.text(
            "SELECT substring(pg_get_constraintdef(oid) FROM '\\d{4}-\\d\\d-\\d\\d')"
            " FROM pg_constraint WHERE conname = 'ck_usage_records_before'"
        )
    )
    if (text := found.scalar()) is None:
        raise RuntimeError("records have come since this migration began: run it again")
    # Told in the session's time zone, it may be the last day of the month before.
    return first_of_next_month(date.fromisoformat(text) - timedelta(days=2))


def now() -> datetime:
    return datetime.now(UTC)


def first_of_next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def rounded(us: str) -> str:
    """Microseconds to the nearest of 1, 1.1 ... 2, 2.2 ... 5, 5.5 ... times a power of ten."""
    grid = [(limit * 10**e, step * 10 ** (e - 1)) for e in range(3, 12) for limit, step in GRID]
    whens = [
        f"WHEN {us} < {limit} THEN ({us} + {step // 2}) / {step} * {step}" for limit, step in grid
    ]
    return f"CASE {' '.join(whens)} ELSE {10**12} END"


GRID = ((2, 1), (5, 2), (10, 5))
_GAIN = {
    "attempt_count": "1",
    "error_count": "CASE WHEN i.error_reason <> '' THEN 1 ELSE 0 END",
    "fallback_count": "CASE WHEN b.calls > 0 THEN 1 ELSE 0 END",
    **{name: f"coalesce(i.{name}, 0)" for name in (*_TOKENS, "cost_nano_usd")},
    "failed_attempt_nano_usd": (
        "CASE WHEN i.error_reason <> '' THEN coalesce(i.cost_nano_usd, 0) ELSE 0 END"
    ),
    "reported_nano_usd": "coalesce(i.reported_nano_usd, 0)",
    "reported_difference_nano_usd": (
        "CASE WHEN i.cost_incomplete THEN 0"
        " ELSE coalesce(i.reported_nano_usd - i.cost_nano_usd, 0) END"
    ),
    "call_count": "CASE WHEN b.day_calls > 0 THEN 0 ELSE 1 END",
    "provider_call_count": "CASE WHEN b.provider_calls > 0 THEN 0 ELSE 1 END",
    "model_call_count": "CASE WHEN b.model_calls > 0 THEN 0 ELSE 1 END",
    "unpriced_call_count": "CASE WHEN i.cost_incomplete AND b.unpriced = 0 THEN 1 ELSE 0 END",
    "unpriced_provider_call_count": (
        "CASE WHEN i.cost_incomplete AND b.provider_unpriced = 0 THEN 1 ELSE 0 END"
    ),
    "unpriced_model_call_count": (
        "CASE WHEN i.cost_incomplete AND b.model_unpriced = 0 THEN 1 ELSE 0 END"
    ),
}


def before(day: str, own_day: str, i: str, others: str) -> str:
    """How many other attempts of the call were there before: in all, on its day, and so on."""
    same = f"{day} = {own_day}"
    counted = {
        "calls": "",
        "day_calls": f"{same}",
        "provider_calls": f"{same} AND s.provider = {i}.provider",
        "model_calls": f"{same} AND s.provider = {i}.provider AND s.model = {i}.model",
    }
    unpriced = {
        "unpriced": "day_calls",
        "provider_unpriced": "provider_calls",
        "model_unpriced": "model_calls",
    }
    counted |= {name: f"{counted[of]} AND s.cost_incomplete" for name, of in unpriced.items()}
    columns = ", ".join(
        f"count(*) {f'FILTER (WHERE {condition})' if condition else ''} AS {name}"
        for name, condition in counted.items()
    )
    return (
        f"SELECT {columns} FROM usage_records s WHERE s.completion_id = {i}.completion_id"  # noqa: S608
        f" AND s.tenant = {i}.tenant AND s.record_id <> {i}.record_id {others}"
    )


_KEY = ", ".join(("tenant", "day", *CELL[2:]))
_INTO = f"INSERT INTO usage_days AS d ({', '.join((*CELL, *SUMS))})"
_INTO_DURATIONS = (
    "INSERT INTO usage_day_durations AS d (cell, rounded_us, duration_count, first_token_count)"
)
_ADD_DURATIONS = """ON CONFLICT (cell, rounded_us) DO UPDATE SET
    duration_count = d.duration_count + excluded.duration_count,
    first_token_count = d.first_token_count + excluded.first_token_count"""

_SQLITE_DAY = "substr(NEW.create_time, 1, 10)"
_SQLITE_BEFORE = before("substr(s.create_time, 1, 10)", _SQLITE_DAY, "NEW", "")
_SQLITE_CELL = " AND ".join(
    f"c.{name} = {_SQLITE_DAY if name == 'day' else f'NEW.{name}'}" for name in CELL
)
SQLITE_TRIGGER = f"""CREATE TRIGGER sum_usage AFTER INSERT ON usage_records BEGIN
  {_INTO.replace(" AS d", "")}
  SELECT {_SQLITE_DAY}, {", ".join(f"NEW.{name}" for name in CELL[1:])},
    {", ".join(_GAIN[name].replace("i.", "NEW.") for name in SUMS)}
  FROM ({_SQLITE_BEFORE}) b WHERE true
  ON CONFLICT ({_KEY}) DO UPDATE SET
    {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)};
  {_INTO_DURATIONS.replace(" AS d", "")}
  SELECT c.cell, {rounded("NEW.duration_us")}, 1, 0 FROM usage_days c
  WHERE {_SQLITE_CELL} AND NEW.error_reason = ''
  {_ADD_DURATIONS.replace(" d.", " ")};
  {_INTO_DURATIONS.replace(" AS d", "")}
  SELECT c.cell, {rounded("NEW.first_token_us")}, 0, 1 FROM usage_days c
  WHERE {_SQLITE_CELL} AND NEW.error_reason = '' AND NEW.first_token_us IS NOT NULL
  {_ADD_DURATIONS.replace(" d.", " ")};
END"""  # noqa: S608 - our own words

_DAY = "(i.create_time AT TIME ZONE 'UTC')::date"
_BEFORE = before(
    "(s.create_time AT TIME ZONE 'UTC')::date",
    _DAY,
    "i",
    # One that is stored together with it is counted by whichever has the greater id.
    "AND (s.record_id < i.record_id OR NOT EXISTS"
    " (SELECT 1 FROM inserted j WHERE j.record_id = s.record_id))"
    # Within the months that it can be in.
    " AND s.start_time BETWEEN i.start_time - interval '2 days'"
    " AND i.start_time + interval '2 days'",
)
_MOST = 2**63 - 1
POSTGRESQL_FUNCTION = f"""CREATE FUNCTION sum_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM inserted) THEN
    RETURN NULL;
  END IF;
  -- One after another, so that each sees the attempts that others have stored of the same call.
  PERFORM pg_advisory_xact_lock({_LOCK});
  {_INTO}
  SELECT {_DAY}, {", ".join(f"i.{name}" for name in CELL[1:])},
    {", ".join(f"least(sum({_GAIN[name]}), {_MOST})" for name in SUMS)}
  FROM inserted i CROSS JOIN LATERAL ({_BEFORE}) b
  GROUP BY 1, 2, 3, 4, 5, 6, 7
  ON CONFLICT ({_KEY}) DO UPDATE SET
    {", ".join(f"{n} = least(d.{n}::numeric + excluded.{n}, {_MOST})" for n in SUMS)};
  {_INTO_DURATIONS}
  SELECT c.cell, t.us, sum(t.duration), sum(t.first_token)
  FROM inserted i
  JOIN usage_days c ON c.day = {_DAY} AND {" AND ".join(f"c.{n} = i.{n}" for n in CELL[1:])}
  CROSS JOIN LATERAL (VALUES ({rounded("i.duration_us")}, 1, 0),
                             ({rounded("i.first_token_us")}, 0, 1)) t (us, duration, first_token)
  WHERE i.error_reason = '' AND (t.duration = 1 OR i.first_token_us IS NOT NULL)
  GROUP BY 1, 2
  {_ADD_DURATIONS};
  RETURN NULL;
END $$"""  # noqa: S608 - our own words
