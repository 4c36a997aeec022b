"""The command line: each file parses, calls and prints; what it calls is loaded when it runs."""
