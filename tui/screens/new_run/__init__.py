"""The form of a run that is to begin."""
