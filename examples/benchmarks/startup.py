# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""How long it takes until something can start: bare Python, torch and transformers, this package, its command.

Each line is a process of its own, the shortest of some runs after one that fills the file cache. CPU seconds count
all threads.

    python examples/benchmarks/startup.py
"""

import argparse
import os
import subprocess
import sys
import time

from machine import describe

LIBRARIES = "import torch, transformers"
PIPELINES = "from transformers import pipeline"
COMMANDS = ("timesclip --version", "timesclip --help")
PROGRAMS = (
    LIBRARIES,
    "import timesclip_hf",
    "from timesclip_hf import TimesCLIPForRegression",
    PIPELINES,
    f"import timesclip_hf; {PIPELINES}",
)


def seconds(words: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    starts = {"bare Python": ["-c", "pass"]}
    starts |= {command: ["-m", "timesclip_hf", command.split()[1]] for command in COMMANDS}
    starts |= {program: ["-c", program] for program in PROGRAMS}
    print(f"{describe()}; best of {repeats}\n")
    found = {name: min(seconds(words) for _ in range(repeats + 1)) for name, words in starts.items()}
    bare, libraries = found["bare Python"][0], found[LIBRARIES][0]
    print("| start | seconds | CPU seconds | beyond bare Python | of torch and transformers |")
    print("|---|---|---|---|---|")
    for name, (wall, cpu) in found.items():
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {wall - bare:.2f} | {wall / libraries:.0%} |")


if __name__ == "__main__":
    main()
