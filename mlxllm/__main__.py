"""`python -m mlxllm`."""

from mlxllm.cli.main import main

main()
