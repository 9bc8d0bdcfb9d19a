#!/usr/bin/env python
"""Cost of simulating analog hardware, as ratios to the digital network.

    python scripts/bench_analog.py --json docs/results/bench_analog/table.json
    python scripts/bench_analog.py --drift --networks "0.1 M" --data DSB2018 \\
        --json docs/results/bench_analog/drift.json

make the tables of ``docs/results/bench_analog``. In one process, warmed up, medians. The first form
times a training step and an evaluation of three NASSegNets (about 0.1, 0.5 and 2 million
parameters) and takes their peak memory: the digital network, nasseg's fused layers, AIHWKit's torch
tile with the same configuration, and aihwkit-lightning with the nearest one that it has, where it
is installed (pip install aihwkit-lightning).

--drift times the drift evaluation of 25 chips at 5 times on validation images of 96 x 96 pixels,
against the same loop written with AIHWKit's own calls, and compares mean and standard deviation
over chips. Both print Markdown tables.
"""

import argparse
import functools
import gc
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from aihwkit.nn.conversion import convert_to_analog
from torch import nn

from nasseg.analog import (
    DRIFT_TIMES,
    AnalogSpec,
    calibrate_input_ranges,
    convert,
    evaluate_drift,
    summarise_drift,
)
from nasseg.cli import script_main
from nasseg.config import DataConfig, TrainConfig
from nasseg.data import load_data
from nasseg.io import write_json
from nasseg.search_spaces import get_space
from nasseg.tasks import get_task
from nasseg.training.device import select_device
from nasseg.training.optim import make_optimizer
from nasseg.training.recipe import drift_metrics, train_digital

WIDTHS = {"0.1 M": 8, "0.5 M": 16, "2 M": 32}
"""Width of the first convolution of the default architecture."""
BATCHES = {32: 16, 96: 16, 256: 2}
"""Images a batch at each size: about as many pixels at 256 as at 96."""


def network(width: int) -> nn.Module:
    """The default architecture of the space at another width."""
    space = get_space("unet")
    return space.build(space.canonical({**space.default(), "out_channel0": width}))


def lightning(net: nn.Module, spec: AnalogSpec) -> nn.Module | None:
    """The network on aihwkit-lightning's layers: the same converters, noise and tile rows.

    It has one output range for all tiles and no drift; None where it is not installed.
    """
    if importlib.util.find_spec("aihwkit_lightning") is None:
        return None
    from aihwkit_lightning.nn.conversion import convert_to_analog as to_lightning
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
    from aihwkit_lightning.simulator.parameters.enums import (
        WeightClipType,
        WeightNoiseInjectionType,
    )

    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = 2**spec.dac_bits - 2
    config.forward.out_bound = spec.adc_bound
    config.forward.out_noise = spec.out_noise
    config.pre_post.input_range.enable = True
    config.pre_post.input_range.learn_input_range = False
    config.pre_post.input_range.init_from_data = 0
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL
    config.modifier.std_dev = spec.weight_noise
    config.clip.type, config.clip.sigma = WeightClipType.LAYER_GAUSSIAN, spec.clip_sigma
    config.mapping.max_input_size = spec.tile_rows
    return to_lightning(net, config, ensure_analog_root=False)


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes of tensors held at a time during a call, beyond those held before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    # torch counts no peak on the CPU; its profiler sees every allocation.
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(
    nets: dict[str, nn.Module], x: torch.Tensor, y: torch.Tensor, repeats: int
) -> dict[str, dict[str, float]]:
    """Median seconds of a training step and of an evaluation, and peak bytes of a step, of each.

    In turns, so that a machine whose speed changes changes it for all.
    """

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def evaluation(net: nn.Module) -> None:
        net(x)

    steps = {
        name: functools.partial(step, net, make_optimizer(net, 1e-3, 1e-2))
        for name, net in nets.items()
    }
    evaluations = {name: functools.partial(evaluation, net) for name, net in nets.items()}
    result: dict[str, dict[str, float]] = {name: {} for name in nets}
    for key, works, training in (("step", steps, True), ("eval", evaluations, False)):
        for name, work in works.items():
            nets[name].train(training)
            work()
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(repeats):
            # A slow one is measured less often; its spread is a small part of its time.
            if turn >= 3 and max(max(times) for times in seconds.values()) > 2:
                break
            for name, work in works.items():
                seconds[name].append(timed(work, x.device))
        for name, times in seconds.items():
            result[name][key] = statistics.median(times)
    for name, work in steps.items():
        nets[name].train()
        result[name]["memory"] = float(peak_bytes(work, x.device))
    return result


def table(args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure every network at every size; print as it goes."""
    spec = AnalogSpec.preset("pcm")
    print("| network | pixels | batch | layers | step s | x | evaluation s | x | peak MB | x |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    rows = []
    base: dict[str, float] = {}
    for label in args.networks:
        for size in args.sizes:
            net = network(WIDTHS[label]).to(device)
            batch = args.batch or BATCHES.get(size, 16)
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(batch, 3, size, size, generator=generator).to(device)
            y = (torch.rand(batch, 1, size, size, generator=generator) > 0.5).float().to(device)
            made: dict[str, nn.Module | None] = {
                "digital": net,
                "nasseg": convert(net, spec)[0],
                "AIHWKit torch tile": convert_to_analog(
                    net, spec.to_rpu_config(), ensure_analog_root=False
                ),
                "aihwkit-lightning": lightning(net, spec),
            }
            nets = {name: other.to(device) for name, other in made.items() if other is not None}
            for name, row in measure(nets, x, y, args.repeats).items():
                base = row if name == "digital" else base
                ratio = {key: row[key] / base[key] for key in row}
                rows.append(
                    {"network": label, "pixels": size, "batch": batch, "layers": name, **row}
                    | {f"{key}_ratio": value for key, value in ratio.items()}
                )
                print(
                    f"| {label} | {size} | {batch} | {name} | {row['step']:.3f} | "
                    f"{ratio['step']:.1f} | {row['eval']:.3f} | {ratio['eval']:.1f} | "
                    f"{row['memory'] / 1e6:.0f} | {ratio['memory']:.1f} |",
                    flush=True,
                )
    return rows


def drift(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Drift evaluation by nasseg and by AIHWKit's own calls, on the same trained network."""
    data = load_data(DataConfig(path=args.data, image_size=96))
    task = get_task("segmentation").bind()
    torch.manual_seed(0)
    net = network(WIDTHS[args.networks[0]]).to(device)
    print(f"training for {args.epochs} epochs on {data.source}", file=sys.stderr)
    train_digital(net, data, task, TrainConfig(epochs=args.epochs), seed=0, progress=True)
    spec = AnalogSpec.preset("pcm")
    analog, _ = convert(net, spec, example=torch.zeros(1, 3, 96, 96, device=device))
    calibrate_input_ranges(analog, data.calibration_loader(32))
    theirs = convert_to_analog(net, spec.to_rpu_config())
    theirs.load_state_dict(analog.state_dict())
    metric = drift_metrics(task)

    frames = []

    def ours() -> None:
        frames.append(
            evaluate_drift(
                analog, data.val_loader(16), metric, chips=args.chips, seed=0, progress=True
            )
        )

    seconds = timed(ours, device)
    values: dict[float, list[float]] = {time_s: [] for time_s in DRIFT_TIMES}

    def loop() -> None:
        theirs.eval()
        for chip in range(args.reference_chips):
            theirs.program_analog_weights()
            for time_s in DRIFT_TIMES:
                theirs.drift_analog_weights(time_s)
                values[time_s].append(float(metric(theirs, data.val_loader(16))["dice"]))
            print(f"AIHWKit's loop: chip {chip + 1}", file=sys.stderr, flush=True)

    torch.manual_seed(1)
    reference = timed(loop, device)
    ratio = (reference / args.reference_chips) / (seconds / args.chips)
    images = len(data.val_ids)
    print(
        f"\n{sum(p.numel() for p in net.parameters()):,} parameters, {images} images of 96 x 96, "
        f"{len(DRIFT_TIMES)} times: nasseg {seconds:.1f} s for {args.chips} chips, AIHWKit's own "
        f"calls {reference:.1f} s for {args.reference_chips}: {ratio:.1f} x faster a chip\n"
    )
    print("| time s | Dice, nasseg | Dice, AIHWKit | difference in standard errors |")
    print("|---|---|---|---|")
    summary = summarise_drift(frames[0])
    lines = []
    for time_s, found in values.items():
        mine = summary[f"{time_s:.15g}"]["uncalibrated"]["dice"]
        mean, std = statistics.mean(found), statistics.stdev(found) if len(found) > 1 else 0.0
        error = (mine["std"] ** 2 / args.chips + std**2 / len(found)) ** 0.5
        apart = (mine["mean"] - mean) / error if error else 0.0
        lines.append({"time_s": time_s, "nasseg": mine, "aihwkit": {"mean": mean, "std": std}})
        print(
            f"| {time_s:g} | {mine['mean']:.4f} ± {mine['std']:.4f} | {mean:.4f} ± {std:.4f} | "
            f"{apart:+.1f} |"
        )
    return {
        "seconds": seconds,
        "chips": args.chips,
        "reference_seconds": reference,
        "reference_chips": args.reference_chips,
        "ratio": ratio,
        "times": lines,
    }


def main(words: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 96, 256], help="pixels")
    parser.add_argument("--batch", type=int, help="images; default 16, or 2 at 256 pixels")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--drift", action="store_true", help="time the drift evaluation instead")
    parser.add_argument("--data", help="folder of images; default synthetic nuclei")
    parser.add_argument("--epochs", type=int, default=10, help="of digital training, --drift")
    parser.add_argument("--chips", type=int, default=25, help="of nasseg's evaluation")
    parser.add_argument("--reference-chips", type=int, default=25, help="of AIHWKit's loop")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    args = parser.parse_args(words)
    return script_main(lambda: run(args), threads=args.threads)


def run(args: argparse.Namespace) -> None:
    """Measure, print, and write the numbers where a file is named."""
    device = select_device(args.device)
    result = drift(args, device) if args.drift else table(args, device)
    if args.json is not None:
        head = {"torch": torch.__version__, "device": str(device), "threads": args.threads}
        write_json(args.json, {**head, "result": result})


if __name__ == "__main__":
    sys.exit(main())
