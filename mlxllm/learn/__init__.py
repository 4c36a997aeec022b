"""The tour: ten short chapters in the order in which a model comes to be, each with an experiment on the user's own."""
