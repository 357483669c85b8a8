"""Protobuf <-> domain, shared by the servicers; a bad field raises `InvalidField` here and nowhere deeper."""
