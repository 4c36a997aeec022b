"""What the Data screen knows of texts, without a screen."""
