"""What an opened data set says of itself: labels, groups, channels."""

from typing import Any

import torch

from leaven.data import DataSet
from leaven.modalities import modality_of


def labels_of(data: DataSet) -> dict[str, Any]:
    """classes, labeled, counts by class, imbalance (largest class over smallest that occurs), not_trained (classes of val or test alone)."""
    spec, label = data.spec, data.labels
    counts = torch.bincount(label[label >= 0], minlength=spec.classes)
    train = label[data.train()]
    trained = torch.bincount(train[train >= 0], minlength=spec.classes)
    occurring = counts[counts > 0]
    return {
        "classes": spec.classes,
        "labeled": spec.labeled,
        "counts": dict(zip(spec.class_names, counts.tolist(), strict=True)),
        "imbalance": round((occurring.max() / occurring.min()).item(), 2) if len(occurring) else None,
        "not_trained": [name for name, own, all_ in zip(spec.class_names, trained, counts, strict=True) if all_ and not own] if trained.any() else [],
    }


def groups_of(data: DataSet) -> dict[str, int]:
    """groups, grouped (samples that have one), largest, and across_splits: groups that lie in more than one split."""
    grouped = data.groups >= 0
    sizes = torch.unique(data.groups[grouped], return_counts=True)[1]
    inside = [torch.unique(data.groups[rows][grouped[rows]]) for rows in data.splits.values()]
    splits = torch.unique(torch.cat(inside), return_counts=True)[1] if inside else sizes[:0]
    return {
        "groups": len(sizes),
        "grouped": int(grouped.sum()),
        "largest": int(sizes.max()) if len(sizes) else 0,
        "across_splits": int((splits > 1).sum()),
    }


def channels_of(data: DataSet) -> dict[str, Any]:
    """By role: modality, shape of one sample as it is stored, mean and std of each channel (pixels, in 0-1) or dimension over the training split, and
    how many columns of numbers or counts are constant there; of text {min, median, max} of the characters and the words of a sample."""
    return {
        role: {
            "modality": spec.modality,
            "shape": list(spec.shape),
            "mean": list(spec.mean),
            "std": list(spec.std),
            "constant": modality_of(spec).constant(data.rows[role], data.train()),
            **modality_of(spec).summary(data.rows[role]),
        }
        for role, spec in data.spec.roles.items()
    }
