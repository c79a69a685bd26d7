"""Speed, time split and memory on a GPU, beside lightly on the same GPU in one run; and 200 epochs of SimCLR on cifar10.

    uv run python benchmarks/gpu.py --out gpu.json [--rounds 3] [--steps 40] [--workers 16]
    uv run python benchmarks/gpu.py --quality --out gpu-quality.json

It measures ResNet-18 at 32 px (batch 512) and ViT-S/16 at 224 px (batch 256), with SimCLR and DINO. Leaven keeps the pictures on the GPU and makes
views there. lightly runs in its best form: its transforms in DataLoader workers, bf16 autocast, channels-last. The arms take turns; medians of the
rounds. Pictures of 224 px are those of tiny-imagenet-20, enlarged to 256 px beforehand. For `--quality`, the published kNN accuracy of SimCLR with
ResNet-18 after 200 epochs at batch 512 is 84.8 % (87 minutes on an A6000).
"""

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from throughput import Pictures, timed_training
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import leaven
from leaven.data import DataSet, open_data
from leaven.encoders import build_encoder
from leaven.modalities import Pixels
from leaven.training.build import input_of
from leaven.training.devices import choose_device, describe_machine
from leaven.training.precision import choose_precision
from leaven.training.request import Request

KINDS = [("resnet18", 32, 512), ("vit_small_patch16_224", 224, 256)]
METHODS = ("simclr", "dino")


def pictures_of(side, root):
    if side == 32:
        return open_data("cifar10", root=root)
    data = open_data("tiny-imagenet-20", root=root)
    large = torch.cat([F.interpolate(part.float(), 256, mode="bilinear", antialias=True).round().byte() for part in data.rows["x"].pixels.split(500)])
    return DataSet.of("tiny-imagenet-20 at 256 px", replace(data.rows, roles={"x": Pixels(large)}), splits=data.splits)


def lightly_rate(method, data, device, encoder, side, batch, steps, workers):
    """Samples per second of lightly's training, after its workers have reached their pace."""
    from lightly.loss import DINOLoss, NTXentLoss
    from lightly.models.modules import DINOProjectionHead, SimCLRProjectionHead
    from lightly.models.utils import update_momentum
    from lightly.transforms import DINOTransform, SimCLRTransform

    torch.manual_seed(0)
    network = build_encoder(encoder, input_of(data.spec.roles["x"], side))
    local = side // 2 if side == 32 else 96
    if method == "simclr":
        transform = SimCLRTransform(input_size=side, gaussian_blur=0.0 if side == 32 else 0.5, normalize=None)
        model, criterion = nn.Sequential(network, SimCLRProjectionHead(network.dim, 512, 128)), NTXentLoss(temperature=0.2)
    else:
        transform = DINOTransform(global_crop_size=side, local_crop_size=local, n_local_views=4, normalize=None)
        model, criterion = nn.Sequential(network, DINOProjectionHead(network.dim, 512, 128, 1024)), DINOLoss(output_dim=1024).to(device)
    model = model.to(device, memory_format=torch.channels_last)
    teacher = None
    if method == "dino":
        fresh = nn.Sequential(build_encoder(encoder, input_of(data.spec.roles["x"], side)), DINOProjectionHead(network.dim, 512, 128, 1024))
        teacher = fresh.to(device, memory_format=torch.channels_last).requires_grad_(False)
        teacher.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    samples = Pictures(data.rows["x"][data.train()[:10_000]].pixels, transform)
    loader = DataLoader(
        samples, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0, pin_memory=device == "cuda"
    )
    stamps = []
    while True:
        for views in loader:
            views = [view.to(device, memory_format=torch.channels_last, non_blocking=True) for view in views]
            with torch.autocast(device, torch.bfloat16) if device == "cuda" else nullcontext():
                if teacher is None:
                    loss = criterion(model(views[0]), model(views[1]))
                else:
                    update_momentum(model, teacher, 0.99)
                    with torch.no_grad():
                        targets = [teacher(view) for view in views[:2]]
                    loss = criterion(targets, [model(view) for view in views], epoch=1)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if device == "cuda":
                torch.cuda.synchronize()
            stamps.append(time.perf_counter())
            if len(stamps) == steps + 8:  # the first eight use what the workers prepared in advance
                return batch * (len(stamps) - 8) / (stamps[-1] - stamps[7])


def speed(arguments, device):
    precision, _ = choose_precision("auto", device)
    rows = []
    for encoder, side, batch in KINDS:
        data = pictures_of(side, arguments.data_root)
        for method in METHODS:
            settings = {"views.blur": (0.5,)} if side == 224 and method == "simclr" else {}
            request = Request(method, encoder=encoder, batch=arguments.batch or batch, size=side, settings=settings)
            rates, memory, split = {"leaven": [], "lightly": []}, {}, {}
            for _ in range(arguments.rounds):
                for arm in rates:
                    if device == "cuda":
                        torch.cuda.empty_cache()
                        torch.cuda.reset_peak_memory_stats()
                    if arm == "leaven":
                        rate, split = timed_training(data, device, precision, request, arguments.steps)
                    else:
                        rate = lightly_rate(method, data, device, encoder, side, request.batch, arguments.steps, arguments.workers)
                    rates[arm].append(rate)
                    memory[arm] = torch.cuda.max_memory_allocated() if device == "cuda" else None
                    print(f"{method}, {encoder}, {side} px, batch {request.batch}: {arm} {rate:,.0f} samples per second", flush=True)
            whole = sum(split.values())
            rows.append(
                {
                    "method": method, "encoder": encoder, "side": side, "batch": request.batch, "samples_per_second": rates, "peak_memory": memory,
                    "ratio": statistics.median(a / b for a, b in zip(rates["leaven"], rates["lightly"], strict=True)),
                    "time_split": {part: round(spent / whole, 3) for part, spent in split.items()},
                }
            )  # fmt: skip
    print("\n| method | encoder | side | batch | samples per second: Leaven | lightly | ratio | time split | memory: Leaven, lightly (GB) |")
    print("|---" * 9 + "|")
    for row in rows:
        medians = [statistics.median(row["samples_per_second"][arm]) for arm in ("leaven", "lightly")]
        parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in row["time_split"].items())
        memory = ", ".join("" if used is None else f"{used / 1e9:.1f}" for used in row["peak_memory"].values())
        place = f"{row['method']} | {row['encoder']} | {row['side']} | {row['batch']}"
        print(f"| {place} | {medians[0]:,.0f} | {medians[1]:,.0f} | {row['ratio']:.2f}x | {parts} | {memory} |")
    return rows


def quality(arguments, device):
    """SimCLR with ResNet-18 on cifar10 for 200 epochs, and its kNN score on the test split."""
    data = open_data("cifar10", root=arguments.data_root)
    folder = arguments.out.with_suffix("")
    epochs = arguments.epochs
    run = leaven.pretrain(data, method="simclr", encoder="resnet18", batch=512, epochs=epochs, out=folder, device=device, report=False, say=print)
    card = leaven.evaluate(run, data, protocols=("knn", "linear"), device=device, report=False)
    result = run.config["result"]
    print(f"{epochs} epochs in {result['seconds'] / 60:.1f} minutes, {result['samples_per_second']:,.0f} pairs per second: {card.text()}")
    return {"epochs": epochs, "result": result, "scorecard": card.to_dict()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--epochs", type=float, default=200)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quality", action="store_true", help="train the 200 epochs instead of measuring speed")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    found = quality(arguments, device) if arguments.quality else speed(arguments, device)
    arguments.out.write_text(json.dumps({"machine": describe_machine(device), "found": found}, indent=2))


if __name__ == "__main__":
    main()
