"""Budgets: what calls may use, held before they are dialled and counted once they are settled."""
