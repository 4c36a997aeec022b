import pytest

from mlxllm.runs import RunState, classify_exit

RUNNING = RunState(status="running", step=1200)
METAL_TIMEOUT = (
    "libc++abi: terminating due to uncaught exception of type std::runtime_error: [METAL] Command buffer "
    "execution failed: Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)"
)
METAL_MEMORY = (
    "[METAL] Command buffer execution failed: Insufficient Memory "
    "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
)
TRACEBACK = "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\nKeyError: 'x'\n"


@pytest.mark.parametrize(
    ("code", "log", "state", "reason"),
    [
        (0, "", RunState(status="finished", step=5), "finished"),
        (None, "", RunState(status="finished", step=5), "finished"),
        (-11, "", RunState(status="finished", step=5), "finished"),
        (130, "", RunState(status="stopped", step=5), "stopped"),
        (143, "", RUNNING, "stopped"),
        (-15, "", RUNNING, "stopped"),
        (-2, TRACEBACK, RUNNING, "stopped"),
        (129, "", RUNNING, "stopped"),
        (-1, "step 5", RUNNING, "stopped"),
        (4, "", RunState(status="diverged", exit_reason="loss was nan"), "diverged"),
        (4, "", RUNNING, "diverged"),
        (4, "", RunState(status="out_of_memory"), "out_of_memory"),
        (-6, METAL_TIMEOUT, RUNNING, "gpu_watchdog"),
        (134, METAL_TIMEOUT, RUNNING, "gpu_watchdog"),
        (None, METAL_TIMEOUT, RUNNING, "gpu_watchdog"),
        (-6, METAL_MEMORY, RUNNING, "out_of_memory"),
        (1, "RuntimeError: [metal::malloc] Attempting to allocate 9 bytes", RUNNING, "out_of_memory"),
        (1, "x\nMemoryError\n", RUNNING, "out_of_memory"),
        (1, "", RunState(status="crashed", exit_reason="RuntimeError: std::bad_alloc"), "out_of_memory"),
        (-9, "step 5", RUNNING, "killed"),
        (137, "", RUNNING, "killed"),
        (None, "", RUNNING, "killed"),
        (None, "step 5\n  validation at step 30: loss 5.3215, 1.943 bits per byte\n", RUNNING, "killed"),
        (None, f"step 5\n{TRACEBACK}", RUNNING, "crashed"),
        (1, "OSError: [Errno 28] No space left on device", RUNNING, "disk_full"),
        (1, TRACEBACK, RUNNING, "crashed"),
        (-11, "", RUNNING, "crashed"),
        (None, "", RunState(status="crashed", exit_reason="KeyError: 'x'"), "crashed"),
        (2, "preset is unknown", None, "refused"),
        (-9, "", None, "killed"),
    ],
)
def test_how_it_ended(code: int | None, log: str, state: RunState | None, reason: str) -> None:
    report = classify_exit(code, log, state, "r")
    assert report.reason == reason
    assert "\n" not in report.sentence


def test_the_sentence_holds_what_is_known() -> None:
    assert classify_exit(1, TRACEBACK, RUNNING, "r").sentence == "the trainer crashed at step 1,200: KeyError: 'x'"
    assert classify_exit(-11, "", RUNNING, "r").sentence.endswith("signal SIGSEGV")
    assert classify_exit(3, "", RUNNING, "r").sentence.endswith("exit code 3")
    assert "loss was nan" in classify_exit(4, "", RunState(exit_reason="loss was nan"), "r").sentence


@pytest.mark.parametrize(("code", "log"), [(-6, METAL_TIMEOUT), (-6, METAL_MEMORY), (-9, ""), (1, TRACEBACK)])
def test_what_was_interrupted_can_be_resumed(code: int, log: str) -> None:
    assert classify_exit(code, log, RUNNING, "my-run").next_command == "mlxllm resume my-run"
