"""A run before it begins: what was chosen and what it will cost, without a screen."""
