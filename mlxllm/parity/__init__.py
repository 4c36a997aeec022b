"""Comparisons with published results and other libraries: which there are, and the receipts of those that were run."""
