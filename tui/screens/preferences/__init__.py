"""The pairs that were judged."""
