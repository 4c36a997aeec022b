"""A run as it learns."""
