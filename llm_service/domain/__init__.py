"""Frozen values everything else is written in. Nothing here knows a wire, a vendor or a database."""
