"""The peak memory of a process that measures itself."""

import resource
import sys


def peak_kib() -> float:
    """Of this process since it began its program."""
    if sys.platform == "linux":
        # Not ru_maxrss: that begins with the size of the process that forked this one.
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))  # noqa: SIM115 - closed at once
        return float(status["VmHWM"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
