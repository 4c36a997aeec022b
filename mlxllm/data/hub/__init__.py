"""Data sets of the Hugging Face Hub: what they hold, which of it is meant, and their files one at a time."""

from mlxllm.data.hub.choosing import choose_files
from mlxllm.data.hub.dataset import HubDataset, find_dataset
from mlxllm.data.hub.problems import hub_problems
from mlxllm.data.hub.shards import open_shard, read_in_parts

__all__ = ["HubDataset", "choose_files", "find_dataset", "hub_problems", "open_shard", "read_in_parts"]
