"""What became of a run, as a page: facts, curves, scores and the commands that lead there again."""
