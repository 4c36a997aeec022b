"""Stand in for a trainer: events of steps at an even rate, through the real recorder, until it is ended.

tui_writer.py RUN_FOLDER RATE [STEPS_AT_ONCE]: first STEPS_AT_ONCE steps at once, then RATE a second; RATE 0 ends there.
"""

import math
import random
import sys
import time
from pathlib import Path

from mlxllm.runs import Recorder, RunDirectory

FOREVER = 10_000_000


def step_of(recorder: Recorder, step: int) -> None:
    """One step's event, and now and then a validation and a sample."""
    loss = 1 + 6 * math.exp(-step / 5000) + random.gauss(0, 0.1)
    recorder.write(
        "train",
        step=step,
        loss=loss,
        learning_rate=1e-3,
        grad_norm=abs(random.gauss(0.5, 0.1)),
        tokens=step * 1024,
        tok_per_sec=round(random.gauss(10_000, 100), 1),  # as the trainer does
        peak_memory=193_072_380,
        footprint=695_906_304,
    )
    if step % 500 == 0:
        recorder.write("val", step=step, loss=loss + 0.05, bits_per_byte=loss / 2.7, sources={}, seconds=0.1)
        recorder.write("sample", step=step, prompt="Once upon a time", text=f" there were {step} steps.")


def main() -> None:
    """Write."""
    folder, rate, at_once = Path(sys.argv[1]), float(sys.argv[2]), int((sys.argv[3:] or ["0"])[0])
    random.seed(0)
    run = RunDirectory.create(folder)
    run.config.write_text("{}")
    with run.lock(), Recorder(run, step=0, max_steps=FOREVER, about={"method": "pretrain"}) as recorder:
        for step in range(1, at_once + 1):
            step_of(recorder, step)
        recorder.flush()
        print("ready", flush=True)
        begun, step = time.monotonic(), at_once
        while rate:
            step += 1
            time.sleep(max(0.0, begun + (step - at_once) / rate - time.monotonic()))
            step_of(recorder, step)
        recorder.finish("finished")


if __name__ == "__main__":
    main()
