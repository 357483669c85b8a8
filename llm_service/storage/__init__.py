"""The database: the only package that knows SQLAlchemy."""

from llm_service.storage import without_orm

without_orm.install()
