"""What is left out of a source's documents, and why: quality rules, duplicates, overlap with evaluation sets."""
