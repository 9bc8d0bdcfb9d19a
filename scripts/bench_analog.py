#!/usr/bin/env python
"""Training step and evaluation of a network on tiles, as ratios to the digital one.

    python scripts/bench_analog.py --size 32 --batch 16 --repeats 7

In one process, warmed up, medians: the digital network, nasseg's fused layers, and AIHWKit's own
layers with the same configuration (``TorchInferenceRPUConfig``). Prints a Markdown table.
"""

import argparse
import statistics
import time

import torch
from aihwkit.nn.conversion import convert_to_analog
from torch import nn

from nasseg.analog import AnalogSpec, convert
from nasseg.search_spaces import get_space
from nasseg.training.optim import make_optimizer


def seconds(net: nn.Module, x: torch.Tensor, y: torch.Tensor, repeats: int) -> tuple[float, float]:
    """Median seconds of a training step and of an evaluation, after one of each as warm-up."""
    optimizer = make_optimizer(net, 1e-3, 1e-2)
    steps, evaluations = [], []
    for _ in range(repeats + 1):
        net.train()
        start = time.perf_counter()
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        steps.append(time.perf_counter() - start)
        net.eval()
        start = time.perf_counter()
        with torch.no_grad():
            net(x)
        evaluations.append(time.perf_counter() - start)
    return statistics.median(steps[1:]), statistics.median(evaluations[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=32, help="image side in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    space, spec = get_space("unet"), AnalogSpec.preset("pcm")
    net = space.build(space.default())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.batch, 3, args.size, args.size, generator=generator)
    y = (torch.rand(args.batch, 1, args.size, args.size, generator=generator) > 0.5).float()
    fused, coverage = convert(net, spec)
    unfolded = convert_to_analog(net, spec.to_rpu_config(), ensure_analog_root=False)
    params = sum(p.numel() for p in net.parameters())
    print(
        f"{params:,} parameters on {coverage.tiles} tiles, batch {args.batch} x 3 x {args.size} x "
        f"{args.size}, {args.threads} threads, medians of {args.repeats}\n"
    )
    print("| | training step (s) | x digital | evaluation (s) | x digital |")
    print("|---|---|---|---|---|")
    base = None
    for name, each in (("digital", net), ("nasseg", fused), ("AIHWKit torch tile", unfolded)):
        step, evaluation = seconds(each, x, y, args.repeats)
        base = base or (step, evaluation)
        ratios = step / base[0], evaluation / base[1]
        print(f"| {name} | {step:.3f} | {ratios[0]:.1f} | {evaluation:.3f} | {ratios[1]:.1f} |")


if __name__ == "__main__":
    main()
