"""The screens of the application, one subject a file."""
