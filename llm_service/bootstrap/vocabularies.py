"""The vocabularies that the settings name, read and built."""

import asyncio

from llm_service import providers
from llm_service.bootstrap.trouble import CannotStart
from llm_service.catalog.vocabularies import PACKAGED, BadVocabularies, Vocabularies, read
from llm_service.settings import Settings


async def vocabularies_of(settings: Settings) -> Vocabularies:
    """What tokens are counted by here.

    Raises:
        CannotStart: what the settings name cannot be used.
    """
    if settings.vocabularies_file is None:
        return PACKAGED
    try:
        return await asyncio.to_thread(read, settings.vocabularies_file, providers.kinds())
    except BadVocabularies as error:
        raise CannotStart(f"LLM_VOCABULARIES_FILE: {error}") from error
