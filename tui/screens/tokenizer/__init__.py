"""A tokenizer at work."""
