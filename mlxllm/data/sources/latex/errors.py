"""What makes a paper unreadable."""


class LatexError(Exception):
    """A paper that does not become text: `reason` is a few stable words, `detail` what was found."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Both are shown to people."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail
