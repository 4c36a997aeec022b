"""Public benchmarks through EleutherAI's lm-eval, the language model evaluation harness."""
