"""Libraries that read an export, each in a process of its own."""
