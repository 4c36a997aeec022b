"""Two models side by side: their answers to the same prompts, and what a judge says of them."""
