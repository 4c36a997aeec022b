"""Models, prompts and answers of a talk, without a screen."""
