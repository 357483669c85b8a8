"""Configuration of four other systems, turned into resources of this one.

Each module of a system maps its rows to steps (`steps.py`) and touches nothing; `importer.py` takes
the steps, by the same use cases as the RPCs, and says of each what became of it.
"""
