"""How long the pilot waits after each key."""

import textual._wait

# It waits until the application computes nothing for so many seconds, twice; at twice the length, as it comes, the
# tests of the application take a quarter longer.
textual._wait.SLEEP_GRANULARITY = 0.01
textual._wait.SLEEP_IDLE = 0.001
