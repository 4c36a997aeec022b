"""A run directory followed while it grows, without a screen."""
