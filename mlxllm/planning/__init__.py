"""Before a run: what it will take, what fits a budget of time or memory, and what would fit where it does not."""
