"""`mlxllm export` and `mlxllm verify`, as they are typed."""

import json
from pathlib import Path

import mlx.core as mx
import pytest

from mlxllm.export.hf import write_hf
from tests.cli.test_main_cli import run_cli
from tests.export.tiny import random_model
