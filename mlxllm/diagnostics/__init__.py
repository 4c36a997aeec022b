"""What `mlxllm doctor` tells: facts of the machine (`facts`), and what its device computes (`device`)."""
