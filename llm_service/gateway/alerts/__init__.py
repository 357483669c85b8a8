"""Alerts: seen, told and delivered."""
