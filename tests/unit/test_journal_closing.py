"""A journal that is closed, or being closed in another thread, takes nothing."""

import pytest

from llm_service.storage.journal import Journal, JournalFull
from tests.unit.test_journal import MUCH, opened, put


async def test_a_closed_journal_takes_nothing_more_not_even_for_a_moment(tmp_path):
    limits = []

    class Watched(Journal):
        def __setattr__(self, name, value):
            if name == "_limit" and self.__dict__.get("_closed"):
                limits.append(value)
            super().__setattr__(name, value)

    journal = Watched.open(tmp_path, MUCH)
    put(journal, opened(1))
    await journal.aclose()
    journal.forget(["1"])
    journal._bound()

    assert limits
    assert set(limits) == {-1}
    with pytest.raises(JournalFull):
        put(journal, opened(2))
