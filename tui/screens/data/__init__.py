"""Sources, mixture, preview and building."""
