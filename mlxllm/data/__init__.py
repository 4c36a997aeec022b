"""Reading text from its sources, and writing it as token shards."""
