"""Seconds of one training step of the reference networks, digital and hardware-aware.

    OMP_NUM_THREADS=1 python scripts/bench_reference.py [NAME ...]

makes the table of times in ``docs/reference_networks.md``. Seconds of the process on one thread, so
that other programs on the machine do not count (what they take of its caches and memory does).
Medians over ``--steps`` after one step to warm up.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from torch import nn

from nasseg.analog import AnalogSpec, NoiseProfile, calibrate_input_ranges, convert, noise_source
from nasseg.cli import script_main
from nasseg.search_spaces import get_space
from nasseg.search_spaces.reference import NETWORKS
from nasseg.training.optim import make_optimizer


def step_seconds(net: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    """Median CPU seconds of forward, backward and the optimiser's step."""
    optimizer = make_optimizer(net.train(), 1e-3, 1e-2)
    seconds = []
    for _ in range(steps + 1):
        start = time.process_time()
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])


def main(words: list[str] | None = None) -> int:
    """Print a row of a Markdown table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args(words)
    return script_main(lambda: run(args), threads=1)


def run(args: argparse.Namespace) -> None:
    """Measure each network, and print as it goes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.batch, 3, args.size, args.size, generator=generator)
    y = torch.arange(args.batch) % 10
    space = get_space("reference")
    print("| network | digital s | analog s | ratio |\n|---|---|---|---|", flush=True)
    for name in args.names:
        net = space.build({"network": name}, 3, 10)
        spec = AnalogSpec.preset("pcm")
        analog, _ = convert(net, spec, example=x[:1])
        calibrate_input_ranges(analog, [(x, y)])
        noise_source(analog).profile = NoiseProfile.of(spec)
        digital, hardware = (step_seconds(n, x, y, args.steps) for n in (net, analog))
        row = f"| {name} | {digital:.2f} | {hardware:.2f} | {hardware / digital:.1f} |"
        print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
