"""The ledger: on a local disk, or in the database for hosts that have none."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress

from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import StorageUnavailable
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.gateway.leased_ledger import LeasedLedger
from llm_service.gateway.ledger import JournalledLedger
from llm_service.gateway.recovery import Recovery
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.storage.journal import Journal

logger = logging.getLogger(__name__)

Work = Coroutine[object, object, None]

_FLUSH_SECONDS = 10.0


@asynccontextmanager
async def ledger_of(
    settings: Settings, database: Database
) -> AsyncIterator[tuple[JournalledLedger | LeasedLedger, tuple[Work, ...]]]:
    """The ledger, and what must run in the background for it; leaving the block stores its rest.

    Raises:
        CannotStart: the journal's folder cannot be written.
    """
    accounting = Accounting(settings.daily_cost_alert_threshold)
    if settings.ledger == "database":
        leased = LeasedLedger(database)
        leased.accounting = accounting
        try:
            yield leased, (leased.run(),)
        finally:
            await _flush(leased)
            with suppress(StorageUnavailable):
                await leased.aclose()
        return
    journal = await asyncio.to_thread(_journal, settings)
    journalled = JournalledLedger(database, journal)
    journalled.accounting = accounting
    recovery = Recovery(database, settings.journal_dir, accounting=accounting)
    try:
        yield journalled, (journalled.run(), recovery.run())
    finally:
        await _flush(journalled)
        await journal.aclose()


def _journal(settings: Settings) -> Journal:
    try:
        return Journal.open(
            settings.journal_dir, settings.journal_max_bytes, settings.journal_sync_ms / 1000
        )
    except OSError as error:
        raise CannotStart(
            f"cannot write the usage journal in {settings.journal_dir}: {error.strerror} "
            "(set LLM_JOURNAL_DIR, or LLM_LEDGER=database on a host without a lasting disk)"
        ) from error


async def _flush(ledger: JournalledLedger | LeasedLedger) -> None:
    try:
        async with asyncio.timeout(_FLUSH_SECONDS):
            while ledger.backlog:  # an attempt may end while another's record is stored
                await ledger.flush()
    except Exception:  # the rest of the shutdown must go on
        logger.critical("usage records were not stored: %d", ledger.backlog, exc_info=True)
    if ledger.holds is not None:
        await ledger.holds.aclose()
