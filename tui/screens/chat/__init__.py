"""Chat, time machine, A/B and the blind taste test."""
