"""The line above a table in which one writes what is to be found; it is there only while it is used."""

from typing import ClassVar

from textual.widgets import Input


class Find(Input):
    """Words that must all be found."""

    SCOPED_CSS: ClassVar[bool] = False
    DEFAULT_CSS = """
    Find { display: none; }
    Find.shown { display: block; }
    """

    def __init__(self, placeholder: str) -> None:
        """Begin out of sight; `placeholder` says where is looked."""
        # Disabled: out of sight it must not take keys.
        super().__init__(placeholder=placeholder, disabled=True)

    def open(self) -> None:
        """Show it, and write in it."""
        self.disabled = False
        self.add_class("shown")
        self.focus()

    def put_away(self) -> bool:
        """Empty it and take it out of sight; False where it is in use, or was not to be seen."""
        if self.has_focus or not self.has_class("shown"):
            return False
        self.value = ""
        self.remove_class("shown")
        self.disabled = True
        return True
