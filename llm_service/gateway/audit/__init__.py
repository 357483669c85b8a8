"""The audit: entries stored with what they tell of, in chains that show if they were touched."""
