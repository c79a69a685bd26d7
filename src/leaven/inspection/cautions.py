"""What to beware of in a data set, in plain words. All read the keys of `Inspection.to_dict`."""

from __future__ import annotations

from typing import Any

from leaven.modalities import find_modality

FEW = 500  # samples
IMBALANCE = 10.0  # times as many in the largest class as in the smallest
COPIED = 0.01  # of all samples
FLAT = 0.01  # of all pictures

Found = dict[str, Any]


def cautions(found: Found) -> list[str]:
    told = [few(found), *copies(found), *overlap(found), *labels(found), groups(found), constant(found), *pictures(found)]
    return [line for line in told if line]


def few(found: Found) -> str | None:
    count = found["splits"].get("train", found["usable"])
    if count >= FEW:
        return None
    return f"{several(count, 'sample')} are few to learn from: compare with raw input and the untrained encoder, as `leaven evaluate` does"


def copies(found: Found) -> list[str | None]:
    extra = sum(len(each["rows"]) - 1 for each in found["duplicates"])
    if extra and extra == found["usable"] - 1:
        return ["all samples are the same: there is nothing to tell apart"]
    alike = sum(len(each["rows"]) - 1 for each in found["near_duplicates"] or ())
    contradicting = [each for each in (*found["duplicates"], *(found["near_duplicates"] or ())) if "labels" in each]
    return [
        f"{share(extra + alike, found['usable'])} of the samples repeat others: they weigh more in training, and contrast pushes copies apart"
        if extra + alike > COPIED * found["usable"]
        else None,
        f"copies with different labels ({len(contradicting):,} in all), such as {contradiction(contradicting[0])}" if contradicting else None,
    ]


def overlap(found: Found) -> list[str]:
    against = found["overlap"]["against"]
    pairs = [(each, f"the {each['of']} split", f"in {each['in']}") for each in found["overlap"]["splits"]]
    pairs += [(against, against["data"], "here")] if against else []
    told = []
    for each, name, where in pairs:
        count = each["exact"] + (each["near"] or 0)
        if count:
            kinds = f"{each['exact']:,} exactly" + ("" if each["near"] is None else f", {each['near']:,} nearly")
            told.append(f"{count:,} of the {each['samples']:,} samples of {name} also stand {where} ({kinds}): scores on them flatter")
    return told


def labels(found: Found) -> list[str | None]:
    told, counts = found["labels"], {name: count for name, count in found["labels"]["counts"].items() if count}
    if not counts:
        return []
    if len(counts) == 1:
        return [f"all labels name one class ({next(iter(counts))}): `leaven evaluate` needs two or more"]
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    return [
        f"{most} has {told['imbalance']:.0f} times as many samples as {least}: read an accuracy beside {share(counts[most], told['labeled'])}, "
        f"which always answering {most} reaches"
        if told["imbalance"] > IMBALANCE
        else None,
        f"{several(len(told['not_trained']), 'class', 'classes')} to test that nothing is trained on, such as {told['not_trained'][0]}"
        if told["not_trained"]
        else None,
    ]


def groups(found: Found) -> str | None:
    crossing = found["groups"]["across_splits"]
    return f"{several(crossing, 'group')} with samples in more than one split: what belongs together should be on one side" if crossing else None


def constant(found: Found) -> str | None:
    spec = next(iter(found["channels"].values()))
    return told_constant(spec["constant"], spec["shape"][0]) if spec["constant"] else None


def told_constant(count: int, columns: int) -> str:
    return f"{count:,} of the {columns:,} columns are the same in all training samples: encoders read them as 0"


def pictures(found: Found) -> list[str | None]:
    told: list[str | None] = []
    near, sizes = found["thumbnails"], found["sizes"]
    if near and near["flat"] > FLAT * near["compared"]:
        told.append(f"{several(near['flat'], 'picture')} with next to no contrast")
    spec = next(iter(found["channels"].values()))
    return told + find_modality(spec["modality"]).cautions(spec, sizes)


def several(count: int, noun: str, nouns: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %"


def contradiction(each: Found) -> str:
    return ", ".join(f"{file}: {label}" for file, label in list(zip(each["files"], each["labels"], strict=True))[:3])
