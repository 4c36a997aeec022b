"""The X-ray."""
