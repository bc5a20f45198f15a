"""What only a real GPU can show: `make gpu` on a machine that has one.

Workers on `--device auto` are pinned by UUID and compute every row; predictions equal the CPU's; a job ends although
another program holds nearly all of the GPU's memory; and each model's rate is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.acceptance.lab import SCIQUEUE, Lab, lab, until
from tests.seq2seq_checkpoint import make_t5_checkpoint
from workers.gpus import find_gpus, load_of

SAMPLES = 10_000
TOLERANCE = 1e-3  # between a value from the CPU and from the GPU, relative to it or to 1
LEFT = 3 << 29  # bytes of the GPU that the other program leaves
HOG = (
    "import sys, torch; free, _ = torch.cuda.mem_get_info(); "
    "held = torch.empty(free - int(sys.argv[1]), dtype=torch.uint8, device='cuda'); "
    "print(torch.cuda.mem_get_info()[0], flush=True); sys.stdin.read()"
)
# flan-t5-base's shape: https://huggingface.co/google/flan-t5-base/blob/main/config.json
T5_BASE = {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}


def pinning(site: Lab) -> str:
    """Each GPU has one process that CUDA shows that GPU alone, by UUID."""
    gpus = {gpu.uuid for gpu in find_gpus()}
    pinned = [
        one.environ()["CUDA_VISIBLE_DEVICES"] for one in site.workers() if "suspects" not in " ".join(one.cmdline())
    ]
    assert sorted(pinned) == sorted(gpus), (pinned, gpus)
    return f"{len(pinned)} workers, each pinned to {', '.join(pinned)}"


def molecules(site: Lab) -> str:
    """All approved drugs: as many outcomes as on the CPU, and equal values."""
    seconds, gpu = _predicted(site)
    with lab(device="cpu") as beside:
        cpu_seconds, cpu = _predicted(beside)
    assert gpu.keys() == cpu.keys()
    worst = max(abs(gpu[key] - cpu[key]) / max(1.0, abs(cpu[key])) for key in cpu)
    assert worst < TOLERANCE, worst
    return f"{len(gpu):,} values in {seconds:.1f} s, on the CPU in {cpu_seconds:.1f} s; largest difference {worst:.1e}"


def samples(site: Lab) -> str:
    """Samples of the shipped generator, and how many are valid."""
    began = time.monotonic()
    job = _submit(site, "--task", "generate", "--count", str(SAMPLES))
    seconds = time.monotonic() - began
    [found] = site.query(
        "SELECT count(*) AS rows, avg(valid::int) AS valid FROM analysis.generations WHERE job_id = %s", job
    )
    assert found["rows"] == SAMPLES
    return f"{SAMPLES:,} samples in {seconds:.1f} s, Valid {float(found['valid']):.3f}"


def watched(site: Lab) -> str:
    """What NVML tells of the GPU, while it works: its memory, and unless it is a slice how much it computes."""
    gpu = find_gpus()[0]
    site.command("submit", "--task", "generate", "--count", str(SAMPLES), "--again")
    load = until(lambda: (now := load_of(gpu.uuid)) and (now.busy or gpu.slice is not None) and now, 120.0)
    assert load.memory == gpu.memory and 0 < load.free < load.memory, (load, gpu)
    return f"{load.free / 2**30:.1f} of {load.memory / 2**30:.1f} GiB free, busy {load.busy}"


def short_of_memory(_: Lab) -> str:
    """Another program takes the GPU's memory before a worker loads its model: the job ends all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", HOG, str(LEFT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as hog:
        assert hog.stdout is not None
        left = int(hog.stdout.readline())
        try:
            with lab(device="auto") as short:
                began = time.monotonic()
                job = _submit(short, "--task", "generate", "--count", str(SAMPLES))
                [found] = short.query("SELECT count(*) AS rows FROM analysis.generations WHERE job_id = %s", job)
                assert found["rows"] == SAMPLES
                log = "".join(file.read_text() for file in (short.home / "logs").glob("worker*.log"))
                return (
                    f"{SAMPLES:,} samples in {time.monotonic() - began:.1f} s with {left / 2**20:.0f} MiB left; "
                    f"'out of memory' {log.count('out of memory')} times in the log"
                )
        finally:
            hog.kill()


def rates(_: Lab) -> str:
    """Rows per second of each model by `sciqueue models bench`, and of an untrained T5 of flan-t5-base's shape."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "models.toml"
        own.write_text(_t5(make_t5_checkpoint(Path(folder) / "t5", gated=True, tied=False, varied=False, **T5_BASE)))
        for name, rows in {
            "smiles-gpt": 20_000,
            "t5-base": 128,
            "t5-base-bf16": 128,
            "tox21-starter": 2000,
            "admet-ai": 2000,
            "admet-ai-bf16": 2000,
        }.items():
            lines.append(f"{name}: {_bench(name, rows, own)}")
    return "\n    ".join(lines)


CHECKS: dict[str, Callable[[Lab], str]] = {
    check.__name__: check for check in (pinning, molecules, samples, watched, short_of_memory, rates)
}


def main() -> None:
    """Run the checks in turn, go on after one that fails, and exit with 1 if any did."""
    arguments = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    arguments.add_argument("--check", choices=CHECKS, action="append", help="one of them; may be repeated")
    wanted: Sequence[str] = arguments.parse_args().check or list(CHECKS)
    if not find_gpus():
        raise SystemExit("there is no GPU here")
    failed = 0
    with lab(device="auto") as site:
        for name in wanted:
            try:
                print(f"{name}: {CHECKS[name](site)}", flush=True)
            except (AssertionError, subprocess.SubprocessError) as fault:
                failed += 1
                print(f"{name}: FAILED {fault!r}\n{getattr(fault, 'stderr', '') or ''}", flush=True)
    raise SystemExit(failed > 0)


def _submit(site: Lab, *arguments: str) -> int:
    """Submit, wait for the end, and return the job's number."""
    job = int(json.loads(site.command("submit", *arguments, "--json").stdout)["job"])
    ended = site.wait(job, 300.0)
    assert ended.state == "done", ended
    return job


def _predicted(site: Lab) -> tuple[float, dict[tuple[int, str], float]]:
    from producer.demo_corpora import approved_drugs

    source = site.home / "drugs.smi"
    source.write_text("".join(f"{record.content.smiles}\n" for record in approved_drugs()))
    began = time.monotonic()
    job = _submit(site, str(source), "--task", "predict")
    seconds = time.monotonic() - began
    rows = site.query("SELECT row, endpoint, value FROM analysis.predictions WHERE job_id = %s", job)
    return seconds, {(one["row"], one["endpoint"]): float(one["value"]) for one in rows if one["value"] is not None}


def _t5(folder: Path) -> str:
    return f"""
        [t5-base]
        task = "summarize"
        engine = "seq2seq"
        weights = {{ path = "{folder}" }}
        parameters = {{ max_new_tokens = 128 }}
        limits = {{ batch_rows = 64, batch_size = 1_000_000, token_budget = 65536, max_rows = 256, max_tokens = 512 }}

        [t5-base-bf16]
        like = "t5-base"
        precision = "bf16"
    """


def _bench(name: str, rows: int, own: Path) -> str:
    done = subprocess.run(
        [*SCIQUEUE, "models", "bench", name, "--device", "0", "--rows", str(rows), "--json"],
        env={**os.environ, "SCIQUEUE_MODELS_FILE": str(own)},
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        return f"FAILED {done.stderr.strip()[-600:]}"
    told = json.loads(done.stdout)
    return (
        f"{told['rows_per_second']:,.0f} rows/s, the device alone {told['device_rows_per_second'] or 0:,.0f}, "
        f"busy {told['busy']:.2f}, {(told['device_memory'] or 0) / 2**20:,.0f} MiB of the GPU"
    )


if __name__ == "__main__":
    main()
