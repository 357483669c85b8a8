"""Logging to stderr, as JSON lines or as text, with the trace id and without anybody's words.

An exception is logged as its type and where it was raised. Its text is left out, for it may hold
what a provider answered, a prompt or a secret.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType

from llm_service.telemetry.spans import trace_id

QUIET = (
    "aiosqlite",
    "alembic",
    "anthropic",
    "asyncio",
    "botocore",
    "concurrent",
    "grpc",
    "hpack",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "opentelemetry",
    "psycopg",
    "sqlalchemy",
    "urllib3",
)
"""Libraries whose lower levels print queries, headers or bodies: never below WARNING."""

_NO_TRACE = "0" * 32
_FRAMES = 30


def set_up(*, level: str = "INFO", as_json: bool = True) -> None:
    """Send the root logger to stderr, replacing its handlers.

    Raises:
        ValueError: `level` is no logging level.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else Text())
    root = logging.getLogger()
    root.setLevel(level.upper())
    root.handlers[:] = [handler]
    for name in QUIET:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.handlers.clear()
        logger.propagate = True


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, trace_id, and an exception's shape."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        current = trace_id()
        if current != _NO_TRACE:
            line["trace_id"] = current
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exception"] = describe(error)
            line["stack"] = "\n".join(_stack(error.__traceback__))
        return json.dumps(line, ensure_ascii=False)


class Text(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        time = _time(record).strftime("%H:%M:%S.%f")[:-3]
        line = f"{time} {record.levelname:<7} {record.name}: {record.getMessage()}"
        current = trace_id()
        if current != _NO_TRACE:
            line += f" [{current}]"
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line += "\n  " + "\n  ".join([describe(error), *_stack(error.__traceback__)])
        return line


def describe(error: BaseException) -> str:
    """The types of an exception and of what caused it, without their text."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{name} < {describe(cause)}" if cause is not None else name


def _stack(trace: TracebackType | None) -> list[str]:
    """Where it was raised. No source lines: a literal there may be a secret in a test or a tool."""
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
