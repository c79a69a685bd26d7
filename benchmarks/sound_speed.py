"""Speed on sound beside peers, in one run and in turn, on one core: pre-training and its worth, wav2vec 2.0, log-mel frames; and memory.

    OMP_NUM_THREADS=1 uv run --extra audio --extra text --with librosa python benchmarks/sound_speed.py --out runs/sound-speed \\
        [--data-root DATA] [--parts pretrain,wav2vec2,mel,memory] [--rounds 3] [--seconds 120]

  pretrain  the default pre-training of sound beside `Wav2Vec2ForPreTraining` of 4 M parameters in a plain loop, for so many seconds each on FSDD:
            clips per second, and probes on the official test takes (0-4). Of the peer's layers the one whose probe is best on the test takes counts.
  wav2vec2  the same configuration in both: seconds of audio per second on Speech Commands, and loss curves. Both are judged by one measure: how many
            nats it takes to tell a hidden frame's code among all hidden frames of its clip, of clips that neither has learned from.
  mel       40 log-mel bands of the same files, which were read before.
  memory    the most resident memory of `leaven pretrain` on a recording of two hours and on 20,000 short clips, both made here.

The plain loop is that of transformers' own example: AdamW, masks and negatives drawn by its functions, Gumbel temperature that falls. Peers run in
fp32, as their users write it, and under bf16 autocast. Seconds are those of one thread's core (CPU time), so that other work on the machine does not
count; in `pretrain` the peer gets as many as Leaven took, with all that a run does. Medians over rounds, and medians of ratios, count. Every finished
cell is kept under --out; the same command goes on.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from throughput import timed_training
from torch import Tensor

import leaven
from leaven.data import DataSet, open_data
from leaven.draw import Draw
from leaven.encoders.encoder import Hidden
from leaven.evaluation.features import encode
from leaven.evaluation.frozen import Features, scored
from leaven.evaluation.protocols.few_label import FewLabels
from leaven.evaluation.protocols.linear import LinearProbe
from leaven.methods.registry import find_method
from leaven.modalities import Wave
from leaven.modalities.mel import log_mel
from leaven.training.build import build_training
from leaven.training.precision import choose_precision, keep_freed_memory
from leaven.training.request import Request
from leaven.views.spans import spans

WIDTH, DEPTH, HEADS, CHANNELS, SIZE = 192, 5, 4, 256, 128
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)  # of 16 kHz; of 8 kHz without the last, so that frames are as long
BATCH, LR, WARM_UP, LENGTH = 16, 5e-4, 100, 5000  # the rate rises over so many steps, of a training of so many
CURVE = 10, 60  # steps between two looks, and in all
SAME = {
    "encoder.front": "wave", "encoder.width": WIDTH, "encoder.depth": DEPTH, "encoder.heads": HEADS, "encoder.channels": CHANNELS,
    "encoder.kernels": KERNELS, "encoder.strides": STRIDES, "size": SIZE,
}  # fmt: skip
ADAMW = {
    "recipe.optimizer": "adamw", "recipe.lr": LR, "recipe.batch": BATCH, "recipe.weight_decay": 0.01, "recipe.betas": (0.9, 0.999),
    "recipe.schedule": "constant", "recipe.warmup": WARM_UP / LENGTH, "front_gradient": 1.0,
}  # fmt: skip
DEFAULT = "leaven, as it is by default"
HOURS, CLIPS = 2, 20_000

Cell = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Measures what has a name, or reads what was measured before."""


class Peer:
    """transformers' wav2vec 2.0 of 4 M parameters and the loop around it. kernels, strides: of its convolutions. mask: frames of a hidden span."""

    def __init__(self, kernels: tuple[int, ...], strides: tuple[int, ...], mask: int, seed: int, precision: str):
        from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

        torch.manual_seed(seed)
        np.random.seed(seed)
        config = Wav2Vec2Config(
            hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * WIDTH, conv_dim=(CHANNELS,) * len(kernels),
            conv_kernel=kernels, conv_stride=strides, feat_extract_norm="layer", do_stable_layer_norm=True, codevector_dim=SIZE,
            proj_codevector_dim=SIZE, hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0,
        )  # fmt: skip
        self.model = Wav2Vec2ForPreTraining(config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LR)
        self.mask, self.precision, self.steps = mask, precision, 0

    def step(self, samples: Tensor, lengths: Tensor) -> None:
        from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

        self.model.train()
        frames = int(self.model._get_feat_extract_output_lengths(samples.shape[1]))
        attention = (torch.arange(samples.shape[1]) < lengths[:, None]).long()
        real = self.model._get_feature_vector_attention_mask(frames, attention)
        hidden = _compute_mask_indices((len(samples), frames), 0.65, self.mask, attention_mask=real, min_masks=2)
        negatives = _sample_negative_indices((len(samples), frames), 100, mask_time_indices=hidden)
        with torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else nullcontext():
            outputs = self.model(
                standardized(samples, lengths),
                attention_mask=attention,
                mask_time_indices=torch.from_numpy(hidden),
                sampled_negative_indices=torch.from_numpy(negatives),
            )
        (outputs.loss / hidden.sum()).backward()
        for group in self.optimizer.param_groups:
            group["lr"] = LR * min(1.0, (self.steps + 0.5) / WARM_UP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        self.model.set_gumbel_temperature(max(2.0 * 0.999995**self.steps, 0.5))

    @torch.no_grad()
    def features(self, value: Wave, rows: Tensor) -> list[Tensor]:
        """(rows, width) of each layer: the mean over the real frames."""
        self.model.eval()
        parts = []
        for part in (value[some] for some in rows.split(64)):
            attention = (torch.arange(part.samples.shape[1]) < part.lengths[:, None]).long()
            outputs = self.model.wav2vec2(standardized(part.samples, part.lengths), attention_mask=attention, output_hidden_states=True)
            real = self.model._get_feature_vector_attention_mask(outputs.hidden_states[0].shape[1], attention)[..., None]
            parts.append([(layer * real).sum(1) / real.sum(1) for layer in outputs.hidden_states])
        return [torch.cat(layer) for layer in zip(*parts, strict=True)]

    @torch.no_grad()
    def told_apart(self, method: Any, samples: Tensor, hidden: Tensor) -> Tensor:
        """By the measure of our method: predictions, targets and codes."""
        self.model.eval()
        lengths = torch.full((len(samples),), samples.shape[1])
        outputs = self.model(standardized(samples, lengths), mask_time_indices=hidden)
        latents = self.model.wav2vec2(standardized(samples, lengths)).extract_features
        codes = self.model.quantizer.weight_proj(latents).unflatten(2, (self.model.config.num_codevector_groups, -1)).argmax(3)
        return identified(method, outputs.projected_states, outputs.projected_quantized_states, codes, hidden)


def standardized(samples: Tensor, lengths: Tensor) -> Tensor:
    """Mean 0 and variance 1 of each clip, zeros beyond it, as the feature extractor of the peer does it."""
    real = torch.arange(samples.shape[1]) < lengths[:, None]
    centred = (samples - samples.sum(1, keepdim=True) / lengths[:, None]) * real
    return centred / (centred.square().sum(1, keepdim=True) / lengths[:, None] + 1e-7).sqrt()


def identified(method: Any, predictions: Tensor, targets: Tensor, codes: Tensor, hidden: Tensor) -> Tensor:
    counted = method.identified(predictions.float(), targets.float(), codes, hidden, torch.zeros(hidden.shape))
    return counted["nats"].sum() / counted["count"].sum()


def batches(data: DataSet, seed: int):
    """Random batches of the training part, without end: samples and their lengths."""
    value, train = data.rows["x"], data.train()
    generator = torch.Generator().manual_seed(seed)
    while True:
        for rows in train[torch.randperm(len(train), generator=generator)].split(BATCH):
            if len(rows) == BATCH:
                part = value[rows]
                yield part.samples, part.lengths


# --- pre-training and its worth ---


def digits(root: Path) -> DataSet:
    """FSDD with its official test takes."""
    data = open_data(root / "fsdd", groups="{label}_{speaker}_{take}.wav")
    takes = torch.tensor([int(Path(file).stem.split("_")[2]) for file in data.files])
    splits = {"train": (takes >= 5).nonzero()[:, 0], "test": (takes < 5).nonzero()[:, 0]}
    rows = replace(data.rows, group=torch.full_like(data.rows.group, -1))
    return DataSet.of(data.name, rows, splits=splits, class_names=data.spec.class_names, hashes=data.hashes, files=data.files)


def probes(data: DataSet, features_of: Callable[[Tensor], Tensor]) -> dict[str, float]:
    train, test, labels = data.train(), data.splits["test"], data.rows.label
    features = Features(features_of(train), labels[train], features_of(test), labels[test], names=data.spec.class_names)
    scores = scored([LinearProbe(), FewLabels(counts=(5,))], features)
    return {"linear": scores["linear"]["accuracy"], "few": scores["few-label"][0]["accuracy"]}


def pretraining(root: Path, cell: Cell, rounds: int, seconds: float) -> None:
    data = digits(root)
    value, (precision, _) = data.rows["x"], choose_precision("auto", "cpu")
    print(f"\nFSDD, clips of {value.samples.shape[1] / value.rate:.2f} s at {value.rate:g} Hz with what fills them up, {seconds:g} s each")

    def ours(number: int) -> dict[str, Any]:
        clock: list[float] = []  # a budget counts seconds of the clock on the wall, and these are the core's
        timed_training(
            data,
            "cpu",
            precision,
            Request("simclr", batch=find_method("simclr").recipe.batch),
            1,
            look=lambda method, step: clock.append(time.process_time()),
        )
        steps = max(1, round(seconds / statistics.median(later - earlier for earlier, later in itertools.pairwise(clock))))
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            run = leaven.pretrain(data, method="simclr", steps=steps, out=folder, seed=number, device="cpu", report=False)
            spent = time.process_time() - begin
            encoder, result = leaven.load(run), run.config["result"]
            scores = probes(data, lambda rows: encode(encoder, value, rows))
        return {"clips": result["samples"] / spent, "seconds": spent, "steps": result["steps"], **scores}

    def theirs(number: int, precision: str) -> dict[str, Any]:
        budget = 0.0 if precision == "untrained" else cell(f"pretrain-{DEFAULT}-{number}", lambda: ours(number))["seconds"]
        peer, supply = Peer(KERNELS[:-1], STRIDES[:-1], 5, number, precision), batches(data, number)
        begin = time.process_time()
        while time.process_time() < begin + budget:
            peer.step(*next(supply))
        spent = time.process_time() - begin
        train, test = peer.features(value, data.train()), peer.features(value, data.splits["test"])
        layers = [probes(data, lambda rows, a=a, b=b: a if len(rows) == len(a) else b) for a, b in zip(train, test, strict=True)]
        best = {name: max(layer[name] for layer in layers) for name in layers[0]}
        return {"clips": BATCH * peer.steps / spent, "seconds": spent, "steps": peer.steps, **best}

    arms: dict[str, Callable[[int], dict[str, Any]]] = {
        DEFAULT: ours,
        **{f"transformers, {kind}": lambda number, kind=kind: theirs(number, kind) for kind in ("fp32", "bf16", "untrained")},
    }
    results = in_turn("pretrain", arms, cell, rounds, ("clips", "linear", "few"))
    print("| arm | clips per second | Leaven has more by | linear probe | 5 labels per class |\n|---|---|---|---|---|")
    own = results[DEFAULT]
    for name, cells in results.items():
        speed = "" if not cells[0]["clips"] else f"{median(cells, 'clips'):.1f} | {times(own, cells, 'clips')}"
        print(f"| {name} | {speed or '- | -'} | {100 * median(cells, 'linear'):.1f} | {100 * median(cells, 'few'):.1f} |")


# --- the same wav2vec 2.0 ---


def same_wav2vec2(root: Path, cell: Cell, rounds: int, seconds: float) -> None:
    data = open_data(root / "speech-commands", labels="folder")
    value, test = data.rows["x"], data.splits["test"][::2]
    length = value.samples.shape[1] / value.rate
    precision, _ = choose_precision("auto", "cpu")

    def our_rate(precision: str) -> dict[str, Any]:
        request, clock = Request("wav2vec2", encoder="frames", batch=BATCH, settings=SAME | ADAMW), []
        timed_training(data, "cpu", precision, request, 1, look=lambda method, step: clock.append(time.process_time()))
        return {"rate": 5 * BATCH * length / (clock[6] - clock[1])}

    def their_rate(number: int, precision: str) -> dict[str, Any]:
        peer, supply = Peer(KERNELS, STRIDES, 10, number, precision), batches(data, number)
        peer.step(*next(supply))
        begin = time.process_time()
        for _ in range(3):
            peer.step(*next(supply))
        return {"rate": 3 * BATCH * length / (time.process_time() - begin)}

    arms: dict[str, Callable[[int], dict[str, Any]]] = {
        "leaven, fp32": lambda number: our_rate("fp32"),
        "transformers, fp32": lambda number: their_rate(number, "fp32"),
        "leaven, bf16": lambda number: our_rate("bf16"),
        "transformers, bf16": lambda number: their_rate(number, "bf16"),
    }
    results = in_turn("wav2vec2", arms, cell, rounds, ("rate",))
    print(f"\nwav2vec 2.0 of one configuration, Speech Commands, batch {BATCH}; {precision} is what Leaven takes on this CPU")
    print("| arm | seconds of audio per second | Leaven in this precision is faster by |\n|---|---|---|")
    for name, cells in results.items():
        own = results[f"leaven, {name.rpartition(' ')[2]}"]
        print(f"| {name} | {median(cells, 'rate'):.2f} | {times(own, cells, 'rate')} |")

    judge: Any = build_training(Request("wav2vec2", encoder="frames", batch=BATCH, settings=SAME | ADAMW), data, "cpu").method
    part = value[test]
    hidden = spans(Draw(0), judge.encoder.real_tokens(part), judge.mask_starts, judge.mask_length)

    @torch.no_grad()
    def our_nats(method: Any) -> float:
        method.eval()
        frames = method.encoder.frames(part)
        tokens = method.encoder.context(frames, hidden=Hidden(hidden, method.mask_token)).tokens
        choices = method.quantizer(frames.latents)
        nats = identified(judge, method.predict(tokens), method.target(choices.vectors), choices.chosen, hidden)
        method.train()
        return nats.item()

    def our_curve(number: int) -> dict[str, Any]:
        seen: dict[int, float] = {}

        def look(method: Any, step: int) -> None:
            if step % CURVE[0] == 0:
                seen[step] = our_nats(method)

        request = Request("wav2vec2", encoder="frames", batch=BATCH, seed=number, settings=SAME | ADAMW)
        timed_training(data, "cpu", precision, request, CURVE[1] - 6, look=look)
        return {"nats": seen}

    def their_curve(number: int) -> dict[str, Any]:
        peer, supply, seen = Peer(KERNELS, STRIDES, 10, number, precision), batches(data, number), {}
        for step in range(1, CURVE[1] + 1):
            peer.step(*next(supply))
            if step % CURVE[0] == 0:
                seen[step] = peer.told_apart(judge, part.samples, hidden).item()
        return {"nats": seen}

    curves = {"leaven": our_curve, "transformers": their_curve}
    found = {name: [cell(f"curve-{name}-{number}", partial(curve, number)) for number in range(min(rounds, 2))] for name, curve in curves.items()}
    steps = list(found["leaven"][0]["nats"])
    print(f"\n| nats, {precision} | {' | '.join(f'step {step}' for step in steps)} |\n|---|{'---|' * len(steps)}")
    for name, cells in found.items():
        for number, seen in enumerate(cells):
            nats = " | ".join(f"{seen['nats'][step]:.3f}" for step in steps)
            print(f"| {name}, seed {number} | {nats} |")


# --- log-mel frames ---


def mel_frames(root: Path, cell: Cell, rounds: int, seconds: float) -> None:
    import librosa

    print("\n| log-mel frames of | leaven, batches of 64 | leaven, file by file | librosa, file by file | faster by batches | file by file |")
    print("|---|---|---|---|---|---|")
    for name, options in (("fsdd", {}), ("speech-commands", {"labels": "folder"})):
        data = open_data(root / name, **options)
        value = data.rows["x"][torch.arange(min(600, len(data)))]
        clips = [samples[:length].contiguous() for samples, length in zip(value.samples, value.lengths, strict=True)]
        arrays, total, rate = [clip.numpy() for clip in clips], sum(map(len, clips)) / value.rate, int(value.rate)
        size, window, hop = 2 ** int(np.ceil(np.log2(round(rate * 0.025)))), round(rate * 0.025), round(rate * 0.01)

        def by_batches(value=value, rate=rate) -> None:
            for part in value.samples.split(64):
                log_mel(part, rate)

        def one_by_one(clips=clips, rate=rate) -> None:
            for clip in clips:
                log_mel(clip[None], rate)

        def by_librosa(arrays=arrays, rate=rate, size=size, window=window, hop=hop) -> None:
            for samples in arrays:
                power = librosa.feature.melspectrogram(
                    y=samples, sr=rate, n_fft=size, win_length=window, hop_length=hop, n_mels=40, pad_mode="constant"
                )
                np.log(np.maximum(power, 1e-10))

        def rate_of(work: Callable[[], None], total=total) -> dict[str, Any]:
            work()
            begin = time.process_time()
            work()
            return {"rate": total / (time.process_time() - begin)}

        arms = {"batches": by_batches, "single": one_by_one, "librosa": by_librosa}
        results = in_turn(f"mel-{name}", {arm: lambda _, work=work: rate_of(work) for arm, work in arms.items()}, cell, max(5, rounds), ("rate",))
        rates = " | ".join(f"{median(cells, 'rate'):.0f} s/s" for cells in results.values())
        ratios = " | ".join(times(results[arm], results["librosa"], "rate") for arm in ("batches", "single"))
        print(f"| {name} | {rates} | {ratios} |")


# --- memory ---


def memory(root: Path, cell: Cell, rounds: int, seconds: float) -> None:
    def one_recording(folder: Path) -> None:
        import soundfile

        random = np.random.default_rng(0)
        with soundfile.SoundFile(folder / "day.wav", "w", 44_100, 2, "PCM_16") as file:
            for minute in range(60 * HOURS):
                place = np.arange(60 * 44_100) / 44_100
                tone = 0.2 * np.sin(2 * np.pi * (200 + 5 * minute) * place)
                file.write((tone[:, None] + 0.05 * random.standard_normal((len(place), 2))).astype(np.float32))

    def many_clips(folder: Path) -> None:
        import soundfile

        random = np.random.default_rng(0)
        for number in range(CLIPS):
            place = np.arange(random.integers(4000, 8000)) / 8000
            clip = 0.2 * np.sin(2 * np.pi * (200 + number % 3000) * place) + 0.05 * random.standard_normal(len(place))
            soundfile.write(folder / f"{number:05d}.wav", clip, 8000)

    def most(make: Callable[[Path], None]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            (folder / "data").mkdir()
            make(folder / "data")
            command = [sys.executable, "-m", "leaven.cli", "pretrain", str(folder / "data"), "--steps", "6", "--out", str(folder / "run"), "--json"]
            environment = {**os.environ, "LEAVEN_CACHE": str(folder / "cache")}
            begin = time.perf_counter()
            pid = os.posix_spawn(sys.executable, command, environment, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
            _, status, usage = os.wait4(pid, 0)
            if status:
                raise SystemExit(f"leaven pretrain ended with {status}")
            return {"gigabytes": usage.ru_maxrss * 1024 / 1e9, "seconds": time.perf_counter() - begin}

    made = {f"a recording of {HOURS} h, 44.1 kHz, stereo": one_recording, f"{CLIPS:,} clips of 0.5 to 1 s, 8 kHz": many_clips}
    found = {name: cell(f"memory-{make.__name__}", partial(most, make)) for name, make in made.items()}
    print("\n| six steps of the default pre-training on | most resident memory | seconds, with reading |\n|---|---|---|")
    for name, seen in found.items():
        print(f"| {name} | {seen['gigabytes']:.2f} GB | {seen['seconds']:.0f} |")


# --- tables ---


def in_turn(part: str, arms: dict[str, Callable[[int], dict[str, Any]]], cell: Cell, rounds: int, shown: tuple[str, ...]) -> dict[str, list[Any]]:
    """The cells of each arm, measured round by round."""
    results: dict[str, list[Any]] = {name: [] for name in arms}
    for number in range(rounds):
        for name, measure in arms.items():
            results[name].append(found := cell(f"{part}-{name}-{number}", partial(measure, number)))
            print(f"round {number + 1}  {name:28} {'  '.join(f'{kind} {found[kind]:.3f}' for kind in shown)}", file=sys.stderr, flush=True)
    return results


def median(cells: list[Any], name: str) -> float:
    return statistics.median(found[name] for found in cells)


def times(own: list[Any], others: list[Any], name: str) -> str:
    return f"{statistics.median(a[name] / b[name] for a, b in zip(own, others, strict=True)):.2f}x"


PARTS = {"pretrain": pretraining, "wav2vec2": same_wav2vec2, "mel": mel_frames, "memory": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=os.environ.get("LEAVEN_DATA"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part is named {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    torch.set_num_threads(1)
    keep_freed_memory()
    arguments.out.mkdir(parents=True, exist_ok=True)

    def cell(name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = arguments.out / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if not path.exists():
            before = os.getloadavg()[0]
            path.write_text(json.dumps({**measure(), "load": before}))
        return json.loads(path.read_text())

    for part in parts:
        PARTS[part](Path(arguments.data_root), cell, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
