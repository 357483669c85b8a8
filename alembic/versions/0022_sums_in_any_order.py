"""Sums of usage that hold whatever is added, in whatever order.

A sum stays within 64 bits at either end, so that no record is refused for it. An attempt follows
another by its record's id, not by when it was stored: the one that a late attempt comes before is
counted as a fallback from then on, on its own day.
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

CELL = ("day", "tenant", "agent", "interaction", "operation", "provider", "model")
KEY = ", ".join(("tenant", "day", *CELL[2:]))
TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
)
LEAST, MOST = -(2**63), 2**63 - 1
LOCK = 0x6C6C6D5F73756D73  # "llm_sums"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER sum_usage")
        op.execute(SQLITE_TRIGGER)
    else:
        op.execute(POSTGRESQL_FUNCTION)


def downgrade() -> None:
    script = op.get_context().script
    assert script is not None  # noqa: S101 - for the type checker
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER sum_usage")
        op.execute(script.get_revision("0020").module.SUM)
    else:
        before = script.get_revision("0019").module.POSTGRESQL_FUNCTION
        op.execute(before.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    # What stands at the lower end, which the former takes no more from: a record would be refused.
    least = -(2**62)
    op.execute(
        f"UPDATE usage_days SET reported_difference_nano_usd = {least}"  # noqa: S608 - our words
        f" WHERE reported_difference_nano_usd < {least}"
    )


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


def earlier(day: str) -> dict[str, str]:
    """Of a call's other attempts `s`, those stored before `i`: in all, on its day, and so on."""
    same_day = f"s.stored_before AND {day.replace('i.', 's.')} = {day}"
    same_provider = f"{same_day} AND s.provider = i.provider"
    same_model = f"{same_provider} AND s.model = i.model"
    return {
        "earlier": "s.stored_before",
        "followed": "s.record_id < i.record_id",
        "day_calls": same_day,
        "provider_calls": same_provider,
        "model_calls": same_model,
        "unpriced": f"{same_day} AND s.cost_incomplete",
        "provider_unpriced": f"{same_provider} AND s.cost_incomplete",
        "model_unpriced": f"{same_model} AND s.cost_incomplete",
    }


def counted(day: str, stored_before: str) -> str:
    return ", ".join(
        f"count(*) FILTER (WHERE {which.replace('s.stored_before', stored_before)}) AS {name}"
        for name, which in earlier(day).items()
    )


def gains(difference: str) -> dict[str, str]:
    """What an attempt `i` adds, of whose call `b` says what was there."""

    def one_if(condition: str) -> str:
        return f"CASE WHEN {condition} THEN 1 ELSE 0 END"

    cost = "coalesce(i.cost_nano_usd, 0)"
    return {
        "attempt_count": "1",
        "error_count": one_if("i.error_reason <> ''"),
        "fallback_count": one_if("b.followed > 0"),
        **{name: f"coalesce(i.{name}, 0)" for name in TOKENS},
        "cost_nano_usd": cost,
        "failed_attempt_nano_usd": f"CASE WHEN i.error_reason <> '' THEN {cost} ELSE 0 END",
        "reported_nano_usd": "coalesce(i.reported_nano_usd, 0)",
        "reported_difference_nano_usd": (
            f"CASE WHEN i.cost_incomplete THEN 0 ELSE coalesce({difference}, 0) END"
        ),
        **{
            f"{level}call_count": one_if(f"coalesce(b.{level or 'day_'}calls, 0) = 0")
            for level in ("", "provider_", "model_")
        },
        **{
            f"unpriced_{level}call_count": one_if(
                f"i.cost_incomplete AND coalesce(b.{level}unpriced, 0) = 0"
            )
            for level in ("", "provider_", "model_")
        },
    }


def overtaken(day: str) -> str:
    """What an attempt `o` adds that was its call's first until now."""
    cell = (day.replace("i.", "o."), *(f"o.{name}" for name in CELL[1:]))
    return ", ".join((*cell, *("1" if name == "fallback_count" else "0" for name in SUMS)))


def named(expressions: dict[str, str]) -> str:
    return ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())


def cell(day: str) -> str:
    return named({"day": day, **{name: f"i.{name}" for name in CELL[1:]}})


SUMS = tuple(gains(""))
INTO = f"INSERT INTO usage_days AS d ({', '.join((*CELL, *SUMS))})"
ADD_DURATIONS = """ON CONFLICT (cell, rounded_us) DO UPDATE SET
    duration_count = d.duration_count + excluded.duration_count,
    first_token_count = d.first_token_count + excluded.first_token_count"""
INTO_DURATIONS = (
    "INSERT INTO usage_day_durations AS d (cell, rounded_us, duration_count, first_token_count)"
)


def sqlite_total(name: str) -> str:
    """In two halves, as SQLite's own sum fails beyond 64 bits; a cast ends at the nearest."""
    if name not in (*TOKENS, *(one for one in SUMS if one.endswith("nano_usd"))):
        return f"sum({name})"
    low = 2**32 - 1
    upper, lower = f"sum({name} >> 32)", f"sum({name} & {low})"
    return f"CAST(({upper} + ({lower} >> 32)) * {2**32} + ({lower} & {low}) AS INTEGER)"


SQLITE_DAY = "substr(i.create_time, 1, 10)"
SQLITE_GAINS = gains("CAST(i.reported_nano_usd - i.cost_nano_usd AS INTEGER)")
SQLITE_TRIGGER = f"""CREATE TRIGGER sum_usage AFTER DELETE ON usage_records_unsummed BEGIN
  {INTO.replace(" AS d", "")}
  WITH several AS MATERIALIZED (
    SELECT i.rowid AS stored, i.completion_id, i.tenant,
      {counted(SQLITE_DAY, "s.rowid < i.rowid")}
    FROM usage_records i JOIN usage_records s
      ON s.completion_id = i.completion_id AND s.tenant = i.tenant AND s.rowid <> i.rowid
    WHERE i.rowid > OLD.after GROUP BY i.rowid
  ), gains AS (
    SELECT {cell(SQLITE_DAY)}, {named(SQLITE_GAINS)}
    FROM usage_records i LEFT JOIN several b ON b.stored = i.rowid WHERE i.rowid > OLD.after
    UNION ALL
    SELECT {overtaken(SQLITE_DAY)} FROM several b JOIN usage_records o ON o.rowid = (
      SELECT s.rowid FROM usage_records s WHERE s.completion_id = b.completion_id
        AND s.tenant = b.tenant AND s.rowid <= OLD.after ORDER BY s.record_id LIMIT 1)
    WHERE b.earlier > 0 AND b.followed = 0
  )
  SELECT {", ".join(CELL)}, {", ".join(map(sqlite_total, SUMS))}
  FROM gains WHERE true GROUP BY {", ".join(map(str, range(1, len(CELL) + 1)))}
  ON CONFLICT ({KEY}) DO UPDATE SET
    {", ".join(f"{name} = CAST({name} + excluded.{name} AS INTEGER)" for name in SUMS)};
  {INTO_DURATIONS.replace(" AS d", "")}
  WITH served AS MATERIALIZED (
    SELECT c.cell, i.duration_us, i.first_token_us FROM usage_records i JOIN usage_days c
      ON ({", ".join(f"c.{name}" for name in CELL)})
       = ({", ".join((SQLITE_DAY, *(f"i.{name}" for name in CELL[1:])))})
    WHERE i.rowid > OLD.after AND i.error_reason = ''
  )
  SELECT cell, us, sum(lasted), sum(began) FROM (
    SELECT cell, {rounded("duration_us")} AS us, 1 AS lasted, 0 AS began FROM served
    UNION ALL
    SELECT cell, {rounded("first_token_us")}, 0, 1 FROM served WHERE first_token_us IS NOT NULL
  ) WHERE true GROUP BY 1, 2
  {ADD_DURATIONS.replace(" d.", " ")};
END"""  # noqa: S608 - our own words


def clamped(number: str) -> str:
    return f"greatest(least({number}, {MOST}), {LEAST})"


DAY = "(i.create_time AT TIME ZONE 'UTC')::date"
# Only of two signs can it be too large for 64 bits; all others are not to pay for that.
DIFFERENCE = (
    "CASE WHEN (i.reported_nano_usd < 0) <> (i.cost_nano_usd < 0)"
    f" THEN {clamped('i.reported_nano_usd::numeric - i.cost_nano_usd')}::bigint"
    " ELSE i.reported_nano_usd - i.cost_nano_usd END"
)
# Of those that are stored together the one with the greater id comes after the other.
STORED_BEFORE = (
    "(s.record_id < i.record_id OR NOT EXISTS"
    " (SELECT 1 FROM inserted j WHERE j.record_id = s.record_id))"
)
OF_CALL = """s.completion_id = i.completion_id AND s.tenant = i.tenant
      -- Within the months that it can be in.
      AND s.start_time BETWEEN i.start_time - interval '2 days' AND i.start_time + interval '2 days'
     """
POSTGRESQL_FUNCTION = f"""CREATE OR REPLACE FUNCTION sum_usage() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM inserted) THEN
    RETURN NULL;
  END IF;
  -- One after another, so that each sees the attempts that others have stored of the same call.
  PERFORM pg_advisory_xact_lock({LOCK});
  {INTO}
  WITH gained AS MATERIALIZED (
    SELECT {cell(DAY)}, {named(gains(DIFFERENCE))},
      i.record_id, i.completion_id, i.start_time, b.earlier, b.followed
    FROM inserted i CROSS JOIN LATERAL (
      SELECT {counted(DAY, "s.stored_before")} FROM (
        -- OFFSET: once for each, not in every sum, for it looks at all that are stored together.
        SELECT s.*, {STORED_BEFORE} AS stored_before
        FROM usage_records s WHERE {OF_CALL} AND s.record_id <> i.record_id OFFSET 0
      ) s
    ) b
  ), gains AS (
    SELECT {", ".join((*CELL, *SUMS))} FROM gained
    UNION ALL
    SELECT {overtaken(DAY)} FROM gained i CROSS JOIN LATERAL (
      SELECT s.* FROM usage_records s WHERE {OF_CALL} AND s.record_id > i.record_id
        AND NOT EXISTS (SELECT 1 FROM inserted j WHERE j.record_id = s.record_id)
      ORDER BY s.record_id LIMIT 1
    ) o
    WHERE i.earlier > 0 AND i.followed = 0
  )
  SELECT {", ".join(CELL)}, {", ".join(clamped(f"sum({name})") for name in SUMS)}
  FROM gains GROUP BY 1, 2, 3, 4, 5, 6, 7
  ON CONFLICT ({KEY}) DO UPDATE SET
    {", ".join(f"{name} = {clamped(f'd.{name}::numeric + excluded.{name}')}" for name in SUMS)};
  {INTO_DURATIONS}
  SELECT c.cell, t.us, sum(t.duration), sum(t.first_token)
  FROM inserted i
  JOIN usage_days c ON c.day = {DAY} AND {" AND ".join(f"c.{n} = i.{n}" for n in CELL[1:])}
  CROSS JOIN LATERAL (VALUES ({rounded("i.duration_us")}, 1, 0),
                             ({rounded("i.first_token_us")}, 0, 1)) t (us, duration, first_token)
  WHERE i.error_reason = '' AND (t.duration = 1 OR i.first_token_us IS NOT NULL)
  GROUP BY 1, 2
  {ADD_DURATIONS};
  RETURN NULL;
END $$"""  # noqa: S608 - our own words
