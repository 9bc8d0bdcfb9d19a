"""A plain MONAI U-Net trained as a run trains its network, to compare the run with.

    python scripts/baseline.py --like runs/nuc0 --out runs/baseline0.json

Takes data, budget and seed from the run folder, makes a ``monai.networks.nets.UNet`` with about as
many parameters as the run's network, trains it with the same loop, fits its decoder on the same
training images, and evaluates it on the same images. The files are the ``baseline*.json`` of
``docs/results/dsb_native``, and the second row of its first table.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from monai.networks.nets import UNet
from torch import nn

from nasseg.cli import script_main
from nasseg.data import load_data
from nasseg.files.readers import read_json
from nasseg.io import write_json
from nasseg.records.folder import read_run_config
from nasseg.tasks import get_task, task_for
from nasseg.training import evaluate, save_weights
from nasseg.training.checkpoint import remove_checkpoint
from nasseg.training.measure import train_network
from nasseg.training.recipe import fit_decoder


class Padded(nn.Module):
    """A network whose input is mirrored to multiples of ``factor`` and whose output is cut back."""

    def __init__(self, net: nn.Module, factor: int) -> None:
        super().__init__()
        self.net = net
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, K, H, W)."""
        height, width = x.shape[2:]
        missing = (-width % self.factor, -height % self.factor)
        padded = nn.functional.pad(x, (0, missing[0], 0, missing[1]), mode="reflect")
        # A quarter of the time of a step on a CPU.
        out: torch.Tensor = self.net(padded.contiguous(memory_format=torch.channels_last))
        return out[..., :height, :width]


def plain_unet(width: int, in_channels: int, out_channels: int) -> nn.Module:
    """MONAI's U-Net with four levels, residual units and BatchNorm."""
    net = UNet(
        2,
        in_channels,
        out_channels,
        channels=(width, 2 * width, 4 * width, 8 * width),
        strides=(2, 2, 2),
        num_res_units=1,
        norm="batch",
    )
    return Padded(net.to(memory_format=torch.channels_last), 8)


def nearest_width(params: int, in_channels: int, out_channels: int) -> int:
    """The width whose network has the number of parameters nearest to ``params``."""

    def distance(width: int) -> int:
        net = plain_unet(width, in_channels, out_channels)
        return abs(sum(p.numel() for p in net.parameters()) - params)

    return min(range(4, 65), key=distance)


def main(words: list[str] | None = None) -> int:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--like", required=True, help="run folder")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", required=True, help="JSON file of the result")
    options = parser.parse_args(words)
    return script_main(lambda: run(options.like, Path(options.out)), threads=options.threads)


def run(like: str, out: Path) -> None:
    """Train a network like that of a run folder, and write its result."""
    config = read_run_config(like)
    data = load_data(config.data)
    task = task_for(data, config.train)
    channels = (config.data.channels, task.out_channels)
    width = nearest_width(int(read_json(Path(like) / "best.json")["params"]), *channels)
    checkpoint = out.with_suffix(".ckpt")
    found = train_network(
        lambda _: plain_unet(width, *channels),
        data,
        task,
        dataclasses.replace(config.train, weights=None, freeze_until=None, unfreeze_every=0),
        seed=config.seed,
        device=torch.device("cpu"),
        checkpoint=checkpoint,
        progress=True,
    )
    save_weights(out.with_suffix(".safetensors"), found.net, {})
    kind = get_task(data.kind)
    kind = kind.with_decoder(fit_decoder(kind, found.net, data, config.train).values)
    loader = data.report_loader(config.train.batch_size)
    metrics = evaluate(found.net, loader, kind.bind(data, config.train))
    write_json(
        out,
        {
            "network": f"monai UNet, width {width}",
            "params": found.params,
            "seed": config.seed,
            "epochs": found.epochs,
            "seconds": round(found.seconds, 1),
            "digital": metrics,
        },
    )
    remove_checkpoint(checkpoint)


if __name__ == "__main__":
    sys.exit(main())
