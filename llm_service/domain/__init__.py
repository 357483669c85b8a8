"""Frozen values all else is written in; nothing here knows a wire, a vendor or a database."""
