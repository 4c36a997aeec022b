"""Questions in local files, and how well a model answers them."""
