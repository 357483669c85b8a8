"""Protobuf <-> domain, shared by the servicers; only here does a bad field raise `InvalidField`."""
