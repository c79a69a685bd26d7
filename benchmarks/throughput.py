"""Training speed of SimCLR on cifar10 at 32 px and batch 256: Leaven beside lightly in one run, with the same encoder, projector and kinds of views.

    uv run python benchmarks/throughput.py [--data FOLDER] [--rounds 3] [--steps 25]

The arms take turns, so that a noisy machine affects all of them; medians of the rounds and their ratios count.
  leaven          the loop as `leaven pretrain` runs it, default settings
  ready-made      the same loop and steps, with views that were computed in advance
  lightly fp32    DataLoader with workers and SimCLRTransform, NTXentLoss, as documented
  lightly bf16    the same with bf16 autocast and channels-last
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import to_pil_image

from leaven.data import open_data
from leaven.encoders import choose_encoder
from leaven.run import Run
from leaven.training.build import build_training, input_of
from leaven.training.devices import choose_device, launch
from leaven.training.loop import Training
from leaven.training.plan import Plan
from leaven.training.precision import NAMES, choose_precision, keep_freed_memory
from leaven.training.request import Request

BATCH = 256


class Enough(Exception):
    """Ends a training after it has been timed."""


def leaven_rate(data, device, precision, encoder, steps, ready_made=False):
    """Samples per second of Leaven's loop with SimCLR over the steady part of a short training."""
    return timed_training(data, device, precision, Request("simclr", encoder=encoder, batch=BATCH), steps, ready_made)[0]


def timed_training(data, device, precision, request, steps, ready_made=False, look=None):
    """(samples per second, seconds by part) of Leaven's loop over the steady part of a short training. look: called with the method and the number of
    steps that it has made."""
    parts = build_training(request, data, device)
    method, recipe = parts.method, parts.recipe
    if ready_made:
        make, kept = method.views, []

        def views(batch, draw):
            if not kept:
                kept.extend(make(batch, draw))
            return kept

        method.views = views
    fabric = launch(device, 1, NAMES[precision])
    stamps = []
    with tempfile.TemporaryDirectory() as folder:
        request = replace(request, keep_going=True, checkpoint_seconds=float("inf"))
        rows = data.rows.to(fabric.device) if device == "cuda" else data.rows
        plan = Plan(5000, request.batch)  # the length of a real run, so that logging and health take their real share
        training = Training(method, recipe, rows, data.train(), plan, Run(folder), request, fabric.autocast, device=fabric.device)
        after = method.after_step

        def stamped(*arguments):
            after(*arguments)
            if device == "cuda":
                torch.cuda.synchronize()
            stamps.append(time.perf_counter())
            if look is not None:
                look(method, len(stamps))
            if len(stamps) == steps + 6:
                raise Enough

        method.after_step = stamped
        with suppress(Enough):
            training.run()
    return request.batch * (len(stamps) - 6) / (stamps[-1] - stamps[5]), dict(training.times)


class Pictures(Dataset):
    """PIL pictures through lightly's transform."""

    def __init__(self, pixels, transform):
        self.pictures, self.transform = [to_pil_image(picture) for picture in pixels], transform

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.transform(self.pictures[index])


def lightly_rate(pictures, data, device, encoder, steps, workers, fast):
    """Samples per second of lightly's documented loop, after its workers have reached their pace."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    method = build_training(Request("simclr", encoder=encoder), data, device).method  # the same encoder; it normalises what it reads
    model = nn.Sequential(method.encoder, SimCLRProjectionHead(method.encoder.dim, 512, 128)).to(device)
    model = model.to(memory_format=torch.channels_last if fast else torch.contiguous_format)
    criterion, optimizer = NTXentLoss(temperature=0.2), torch.optim.SGD(model.parameters(), lr=0.06)
    loader = DataLoader(pictures, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True, pin_memory=device == "cuda")
    stamps = []
    for a, b in loader:
        with torch.autocast(device, torch.bfloat16) if fast else nullcontext():
            z0, z1 = model(a.to(device, non_blocking=True)), model(b.to(device, non_blocking=True))
            loss = criterion(z0, z1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        stamps.append(time.perf_counter())
        if len(stamps) == steps + 8:  # the first eight use what the workers prepared in advance
            break
    return BATCH * (len(stamps) - 8) / (stamps[-1] - stamps[7])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    from lightly.transforms import SimCLRTransform

    device = choose_device(arguments.device)
    precision, _ = choose_precision("auto", device)
    keep_freed_memory()
    data = open_data(arguments.data, root=arguments.data_root)
    encoder, _ = choose_encoder(input_of(data.spec.roles["x"], None), "features", device)
    transform = SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0, normalize=None)
    pictures = Pictures(data.rows["x"][data.train()[:20_000]].pixels, transform)
    arms = {
        "leaven": lambda: leaven_rate(data, device, precision, encoder, arguments.steps),
        "lightly fp32": lambda: lightly_rate(pictures, data, device, encoder, arguments.steps, arguments.workers, fast=False),
        "ready-made": lambda: leaven_rate(data, device, precision, encoder, arguments.steps, ready_made=True),
        "lightly bf16": lambda: lightly_rate(pictures, data, device, encoder, arguments.steps, arguments.workers, fast=True),
    }
    rates = {name: [] for name in arms}
    for number in range(arguments.rounds):
        for name, measure in arms.items():
            rates[name].append(measure())
            print(f"round {number + 1}  {name:13} {rates[name][-1]:7.0f} pairs per second", flush=True)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    ratios = {name: statistics.median(a / b for a, b in zip(rates["leaven"], found, strict=True)) for name, found in rates.items()}
    print(f"\n{encoder}, {precision}, batch {BATCH}, 32 px, {device}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| arm | pairs per second (median) | Leaven is faster by |\n|---|---|---|")
    for name in arms:
        print(f"| {name} | {medians[name]:.0f} | {ratios[name]:.2f}x |")
    if arguments.out:
        machine = {
            "device": device,
            "cpu": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        arguments.out.write_text(
            json.dumps({"machine": machine, "encoder": encoder, "precision": precision, "rates": rates, "ratios": ratios}, indent=2)
        )


if __name__ == "__main__":
    main()
