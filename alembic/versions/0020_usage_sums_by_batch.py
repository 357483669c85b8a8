"""On SQLite, sums of usage once for a batch of records instead of once for each.

SQLite's triggers run for each row. So a row only notes that from there on records are not summed
up, unless that is noted, and whoever stores records takes the note away in the same transaction:
that sums them all up. PostgreSQL's trigger runs once for a statement as it is.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

CELL = ("day", "tenant", "agent", "interaction", "operation", "provider", "model")
MOST = 2**63 - 1
TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("DROP TRIGGER sum_usage")
    op.execute("CREATE TABLE usage_records_unsummed (after INTEGER NOT NULL)")
    op.execute(NOTE)
    op.execute(SUM)


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("DELETE FROM usage_records_unsummed")
    op.execute("DROP TRIGGER note_usage")
    op.execute("DROP TABLE usage_records_unsummed")
    script = op.get_context().script
    assert script is not None  # noqa: S101 - for the type checker
    op.execute(script.get_revision(down_revision).module.SQLITE_TRIGGER)


def rounded(us: str) -> str:
    """Microseconds to the nearest of 1, 1.1 ... 2, 2.2 ... 5, 5.5 ... times a power of ten."""
    grid = [
        (limit * 10**e, step * 10 ** (e - 1))
        for e in range(3, 12)
        for limit, step in ((2, 1), (5, 2), (10, 5))
    ]
    whens = [
        f"WHEN {us} < {limit} THEN ({us} + {step // 2}) / {step} * {step}" for limit, step in grid
    ]
    return f"CASE {' '.join(whens)} ELSE {10**12} END"


def total(number: str) -> str:
    """A sum, but no more than a column holds: SQLite's own fails at that, and the batch with it."""
    if "nano_usd" not in number and "tokens" not in number:
        return f"sum({number})"
    low = 2**32
    return f"min(sum(({number}) >> 32) * {low} + sum(({number}) & {low - 1}), {MOST})"


# How many attempts of the call were stored before: in all, on its day, and so on.
_SAME_DAY = "substr(s.create_time, 1, 10) = substr(i.create_time, 1, 10)"
_BEFORE = {"calls": "true", "day_calls": _SAME_DAY}
_BEFORE["provider_calls"] = f"{_SAME_DAY} AND s.provider = i.provider"
_BEFORE["model_calls"] = f"{_BEFORE['provider_calls']} AND s.model = i.model"
_BEFORE |= {
    name: f"{_BEFORE[of]} AND s.cost_incomplete"
    for name, of in (
        ("unpriced", "day_calls"),
        ("provider_unpriced", "provider_calls"),
        ("model_unpriced", "model_calls"),
    )
}
_GAIN = {
    "attempt_count": "1",
    "error_count": "i.error_reason <> ''",
    "fallback_count": "coalesce(b.calls, 0) > 0",
    **{name: f"coalesce(i.{name}, 0)" for name in (*TOKENS, "cost_nano_usd")},
    "failed_attempt_nano_usd": (
        "CASE WHEN i.error_reason <> '' THEN coalesce(i.cost_nano_usd, 0) ELSE 0 END"
    ),
    "reported_nano_usd": "coalesce(i.reported_nano_usd, 0)",
    "reported_difference_nano_usd": (
        "CASE WHEN i.cost_incomplete THEN 0"
        " ELSE coalesce(i.reported_nano_usd - i.cost_nano_usd, 0) END"
    ),
    "call_count": "coalesce(b.day_calls, 0) = 0",
    "provider_call_count": "coalesce(b.provider_calls, 0) = 0",
    "model_call_count": "coalesce(b.model_calls, 0) = 0",
    "unpriced_call_count": "coalesce(i.cost_incomplete, 0) AND coalesce(b.unpriced, 0) = 0",
    "unpriced_provider_call_count": (
        "coalesce(i.cost_incomplete, 0) AND coalesce(b.provider_unpriced, 0) = 0"
    ),
    "unpriced_model_call_count": (
        "coalesce(i.cost_incomplete, 0) AND coalesce(b.model_unpriced, 0) = 0"
    ),
}
_DAY_OF_I = "substr(i.create_time, 1, 10)"
_CELL_OF_I = ", ".join((_DAY_OF_I, *(f"i.{name}" for name in CELL[1:])))
_ADD_DURATIONS = """ON CONFLICT (cell, rounded_us) DO UPDATE SET
    duration_count = duration_count + excluded.duration_count,
    first_token_count = first_token_count + excluded.first_token_count"""

NOTE = """CREATE TRIGGER note_usage AFTER INSERT ON usage_records
WHEN NOT EXISTS (SELECT 1 FROM usage_records_unsummed) BEGIN
  INSERT INTO usage_records_unsummed VALUES (NEW.rowid - 1);
END"""

SUM = f"""CREATE TRIGGER sum_usage AFTER DELETE ON usage_records_unsummed BEGIN
  INSERT INTO usage_days ({", ".join((*CELL, *_GAIN))})
  SELECT {_CELL_OF_I}, {", ".join(map(total, _GAIN.values()))}
  FROM usage_records i LEFT JOIN (
    SELECT i.rowid AS stored,
      {", ".join(f"count(*) FILTER (WHERE {which}) AS {name}" for name, which in _BEFORE.items())}
    FROM usage_records i JOIN usage_records s
      ON s.completion_id = i.completion_id AND s.tenant = i.tenant AND s.rowid < i.rowid
    WHERE i.rowid > OLD.after GROUP BY i.rowid
  ) b ON b.stored = i.rowid
  WHERE i.rowid > OLD.after GROUP BY {", ".join(map(str, range(1, len(CELL) + 1)))}
  ON CONFLICT (tenant, {", ".join(name for name in CELL if name != "tenant")}) DO UPDATE SET
    {", ".join(f"{name} = min({name} + excluded.{name}, {MOST})" for name in _GAIN)};
  INSERT INTO usage_day_durations (cell, rounded_us, duration_count, first_token_count)
  WITH served AS MATERIALIZED (
    SELECT c.cell, i.duration_us, i.first_token_us FROM usage_records i JOIN usage_days c
      ON ({", ".join(f"c.{name}" for name in CELL)}) = ({_CELL_OF_I})
    WHERE i.rowid > OLD.after AND i.error_reason = ''
  )
  SELECT cell, us, sum(lasted), sum(began) FROM (
    SELECT cell, {rounded("duration_us")} AS us, 1 AS lasted, 0 AS began FROM served
    UNION ALL
    SELECT cell, {rounded("first_token_us")}, 0, 1 FROM served WHERE first_token_us IS NOT NULL
  ) WHERE true GROUP BY 1, 2
  {_ADD_DURATIONS};
END"""  # noqa: S608 - our own words
