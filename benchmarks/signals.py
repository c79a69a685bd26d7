"""EEG by honest splits: what do encoders that learned from unlabeled recordings add?

    OMP_NUM_THREADS=1 uv run --extra eeg --with mne python benchmarks/signals.py --data-root DATA --out runs/signals \\
        [--sets bonn-eeg,eegmmidb,muse-p300] [--methods simclr,mae,masked_prediction] [--steps 150] [--seeds 3]

  bonn-eeg   five kinds of one-channel EEG; segments held out at random, since nothing says which ones belong together
  eegmmidb   left or right fist imagined: each of three recordings of one person left out in turn. Floor: common spatial patterns with LDA
  muse-p300  rare or frequent stimulus (AUC): each of four sessions, and each of two persons, left out in turn. Floor: means of 50 ms with LDA

All recordings are seen without labels. Every finished cell is kept under --out; the same command goes on. Intervals are over seeds (Student's t).
"""

import argparse
import csv
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import leaven
from leaven.evaluation.intervals import seeds_interval
from leaven.run import read_json, write_json

BATCH = 64
METHODS = ("simclr", "mae", "masked_prediction")
ODDBALL = {"window": "0.8s", "channels": "TP9,AF7,AF8,TP10"}
SETS: dict[str, dict[str, Any]] = {
    "bonn-eeg": {"files": "bonn-eeg/bonn-eeg.npz", "settings": {}, "splits": {"held out": None}},
    "eegmmidb": {
        "files": "eegmmidb/S001/S001R[01][482].edf",
        "settings": {"events": "T1,T2", "window": "4s"},
        "batch": 32,
        "splits": {"recording": "recording"},
    },
    "muse-p300": {"files": "muse-p300", "settings": ODDBALL, "splits": {"session": "subject+session", "subject": "subject"}},
}


def points(card: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Each score of a card of one arm: its name and its value in per cent."""
    for name, score in card.items():
        for point in score if isinstance(score, list) else [score]:
            count = point.get("labels_per_class")
            yield f"{count} labels per class" if count else name, 100 * point[point.get("measure", "accuracy")]


def measured(name: str, method: str, seed: int, steps: int, root: Path, out: Path) -> dict[str, dict[str, float]]:
    """By arm and score."""
    kept = out / f"{name}-{method}-{seed}.json"
    if kept.is_file():
        return read_json(kept)
    described = SETS[name]
    data = str(root / described["files"])
    place, settings = out / f"{name}-{method}-{seed}", described["settings"]
    run = leaven.pretrain(
        data, method=method, steps=steps, batch=described.get("batch", BATCH), seed=seed, settings=settings, out=place, report=False, keep_going=True
    )
    arms: dict[str, dict[str, float]] = {}
    for split, groups in described["splits"].items():
        protocols = ("groups",) if groups else ("linear", "few-label")
        card = leaven.evaluate(run, data, groups=groups, protocols=protocols, labels_only="1s", seed=seed).to_dict()
        for arm, scores in {method: card["scores"], **card["floors"]}.items():
            arms.setdefault(arm, {}).update({f"{split}, {score}": value for score, value in points(scores)})
    write_json(kept, arms)
    return arms


def common_spatial_patterns(root: Path) -> dict[str, float]:
    """Four patterns of 7 to 30 Hz, 1 to 2 s after the sign, and LDA, as in MNE's example; each recording left out in turn."""
    import mne
    from mne.decoding import CSP
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    mne.set_log_level("ERROR")
    signals, labels, recordings = [], [], []
    for number, file in enumerate(sorted((root / "eegmmidb" / "S001").glob("S001R[01][482].edf"))):
        raw = mne.io.read_raw_edf(file, preload=True).filter(7, 30, skip_by_annotation="edge")
        events, _ = mne.events_from_annotations(raw, {"T1": 0, "T2": 1})
        epochs = mne.Epochs(raw, events, tmin=1, tmax=2, baseline=None, preload=True)
        signals.append(epochs.get_data())
        labels.append(epochs.events[:, 2])
        recordings.append(np.full(len(epochs), number))
    x, y, group = (np.concatenate(parts) for parts in (signals, labels, recordings))
    scores = []
    for left_out in np.unique(group):
        model = make_pipeline(CSP(4, reg=None, log=True, norm_trace=False), LinearDiscriminantAnalysis())
        scores.append(model.fit(x[group != left_out], y[group != left_out]).score(x[group == left_out], y[group == left_out]))
    return {"recording, groups": 100 * statistics.fmean(scores)}


def means_of_windows(root: Path) -> dict[str, float]:
    """Means of sixteen windows of 50 ms, of 1 to 30 Hz in four channels clipped at 100 microvolts, and shrinkage LDA: AUC, each group left out."""
    from scipy.signal import butter, sosfiltfilt
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score

    features, labels, sessions, subjects = [], [], [], []
    with open(root / "muse-p300" / "recordings.csv", newline="", encoding="utf-8") as stream:
        rows = [*csv.DictReader(stream)]
    for row in rows:
        content = np.load(root / "muse-p300" / row["file"])
        rate, marker = float(content["fs"]), content["marker"]
        signal = sosfiltfilt(butter(4, (1, 30), "bandpass", fs=rate, output="sos"), content["x"][:, :4].astype(float), axis=0).clip(-100, 100)
        edges = np.round(np.linspace(0, 0.8, 17) * rate).astype(int)
        for place in np.flatnonzero(marker):
            if place + edges[-1] <= len(signal):
                pieces = [signal[place + first : place + last].mean(0) for first, last in itertools.pairwise(edges)]
                features.append(np.concatenate(pieces))
                labels.append(marker[place] == 2)
                sessions.append(f"{row['subject']} {row['session']}")
                subjects.append(row["subject"])
    x, y = np.array(features), np.array(labels)
    scores = {}
    for split, groups in (("session", np.array(sessions)), ("subject", np.array(subjects))):
        areas = []
        for left_out in np.unique(groups):
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x[groups != left_out], y[groups != left_out])
            areas.append(roc_auc_score(y[groups == left_out], model.decision_function(x[groups == left_out])))
        scores[f"{split}, groups"] = 100 * statistics.fmean(areas)
    return scores


CLASSICS: dict[str, tuple[str, Callable[[Path], dict[str, float]]]] = {
    "eegmmidb": ("common spatial patterns, LDA", common_spatial_patterns),
    "muse-p300": ("means of 50 ms, LDA", means_of_windows),
}


def cell(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2 or len(set(values)) == 1:
        return f"{mean:.1f}"
    low, high = seeds_interval(values)
    return f"{mean:.1f} ({low:.1f}-{high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.sets.split(","):
        table: dict[str, dict[str, list[float]]] = {}
        for method in asked.methods.split(","):
            for seed in range(asked.seeds):
                for arm, scores in measured(name, method, seed, asked.steps, asked.data_root, asked.out).items():
                    row = table.setdefault(f"untrained, as for {method}" if arm == "untrained" else arm, {})
                    for score, value in scores.items():
                        row.setdefault(score, []).append(value)
        if name in CLASSICS:
            title, classic = CLASSICS[name]
            table[title] = {score: [value] for score, value in classic(asked.data_root).items()}
        columns = list(dict.fromkeys(score for row in table.values() for score in row))
        print(f"\n| {name} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        for arm, row in table.items():
            print(f"| {arm} | {' | '.join(cell(row[score]) if score in row else '' for score in columns)} |")


if __name__ == "__main__":
    main()
