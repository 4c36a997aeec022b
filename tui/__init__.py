"""The terminal UI: it reads the run directory and never imports mlx."""
