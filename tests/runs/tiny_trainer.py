"""A trainer without a model: a real process that keeps the contract, for the tests to watch and kill.

python tiny_trainer.py RUN_FOLDER MAX_STEPS [--step-seconds S] [--import-seconds S] [--from-step N] ...
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from mlxllm.runs import Recorder, RunDirectory


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("max_steps", type=int)
    parser.add_argument("--step-seconds", type=float, default=0.01)
    parser.add_argument("--import-seconds", type=float, default=0.0)
    parser.add_argument("--from-step", type=int, default=0)
    parser.add_argument("--die-at", type=int)
    args = parser.parse_args()
    time.sleep(args.import_seconds)
    run = RunDirectory.create(args.folder)
    print("trainer begins", flush=True)
    about = {"method": "pretrain", "preset": "tiny", "dataset": "noise", "parameters": 12}
    with run.lock(), Recorder(run, step=args.from_step, max_steps=args.max_steps, about=about) as recorder:
        for step in range(args.from_step + 1, args.max_steps + 1):
            time.sleep(args.step_seconds)
            recorder.write("train", step, loss=10.0 / step, tokens=step * 64, tok_per_sec=640.0)
            if step % 10 == 0:
                recorder.write("val", step, loss=11.0 / step, bits_per_byte=12.0 / step)
            if step == args.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if handle_requests(recorder, step):
                recorder.finish("stopped", "asked to stop")
                return 0
        recorder.finish("finished")
    return 0


def handle_requests(recorder: Recorder, step: int) -> bool:
    """Whether to stop."""
    paused = False
    while True:
        for request in recorder.inbox.poll():
            recorder.inbox.complete(request)
            if request.name == "stop":
                recorder.update(status="stopping")
                return True
            if request.name == "pause" and not paused:
                paused = True
                recorder.write("paused", step)
            elif request.name == "resume" and paused:
                paused = False
                recorder.write("resumed", step)
            elif request.name == "sample":
                prompt = request.payload["prompt"]
                recorder.write("sample", step, prompt=prompt, text=prompt.upper(), request=request.id)
            elif request.name == "checkpoint":
                recorder.write("checkpoint_saved", step, request=request.id)
        if not paused:
            return False
        recorder.update()
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
