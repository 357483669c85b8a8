"""SQLAlchemy's asyncio engine without its ORM, which nobody here uses and every process would keep.

The package `sqlalchemy.ext.asyncio` imports its ORM sessions as soon as anything in it is imported:
6 MB of a server's memory. Its engine needs none of them.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_PACKAGE = "sqlalchemy.ext.asyncio"
_ENGINE = f"{_PACKAGE}.engine"


class _EngineFirst(ModuleType):
    """Stands for the package until somebody asks for what is neither its engine's nor a module."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or find_spec(f"{_PACKAGE}.{name}") is not None:
            raise AttributeError(name)  # what a package says of a module that is to be imported
        engine = import_module(_ENGINE)
        if name in vars(engine):
            return vars(engine)[name]
        if sys.modules.get(_PACKAGE) is self:
            del sys.modules[_PACKAGE]
        return getattr(import_module(_PACKAGE), name)


def install() -> None:
    """Have the package's engine come alone, unless the package is there already."""
    spec = find_spec(_PACKAGE)
    if _PACKAGE in sys.modules or spec is None:
        return
    package = _EngineFirst(_PACKAGE)
    package.__spec__ = spec
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[_PACKAGE] = package
