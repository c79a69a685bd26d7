"""What to beware of in a data set, in plain words. All read the keys of `Inspection.to_dict`."""

from typing import Any

from leaven.modalities import find_modality

FEW = 500  # samples
IMBALANCE = 10.0  # times as many in the largest class as in the smallest
COPIED = 0.01  # of all samples
FLAT = 0.01  # of all pictures

Contents = dict[str, Any]


def cautions(contents: Contents) -> list[str]:
    lines = [
        few(contents), *copies(contents), *overlap(contents), *labels(contents), groups(contents), *constant(contents), flat(contents),
        *of_modalities(contents),
    ]  # fmt: skip
    return [line for line in lines if line]


def few(contents: Contents) -> str | None:
    count = contents["splits"].get("train", contents["usable"])
    if count >= FEW:
        return None
    return f"{several(count, 'sample')} are few to learn from: compare with raw input and the untrained encoder, as `leaven evaluate` does"


def copies(contents: Contents) -> list[str | None]:
    exact, near = contents["duplicates"], contents["near_duplicates"] or ()
    extra, alike = (sum(len(same["rows"]) - 1 for same in sets) for sets in (exact, near))
    if extra and extra == contents["usable"] - 1:
        return ["all samples are the same: there is nothing to tell apart"]
    contradicting = [same for same in (*exact, *near) if "labels" in same]
    return [
        f"{share(extra + alike, contents['usable'])} of the samples repeat others: they weigh more in training, and contrast pushes copies apart"
        if extra + alike > COPIED * contents["usable"]
        else None,
        f"copies with different labels ({len(contradicting):,} in all), such as {contradiction(contradicting[0])}" if contradicting else None,
    ]


def overlap(contents: Contents) -> list[str]:
    against = contents["overlap"]["against"]
    parts = [(part, f"the {part['of']} split", f"in {part['in']}") for part in contents["overlap"]["splits"]]
    parts += [(against, against["data"], "here")] if against else []
    lines = []
    for part, name, where in parts:
        count = part["exact"] + (part["near"] or 0)
        if count:
            kinds = f"{part['exact']:,} exactly" + ("" if part["near"] is None else f", {part['near']:,} nearly")
            lines.append(f"{count:,} of the {part['samples']:,} samples of {name} also stand {where} ({kinds}): scores on them flatter")
    return lines


def labels(contents: Contents) -> list[str | None]:
    described = contents["labels"]
    counts = {name: count for name, count in described["counts"].items() if count}
    if not counts:
        return []
    if len(counts) == 1:
        return [f"all labels name one class ({next(iter(counts))}): `leaven evaluate` needs two or more"]
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    missing = described["not_trained"]
    return [
        f"{most} has {described['imbalance']:.0f} times as many samples as {least}: read an accuracy beside "
        f"{share(counts[most], described['labeled'])}, which always answering {most} reaches"
        if described["imbalance"] > IMBALANCE
        else None,
        f"{several(len(missing), 'class', 'classes')} to test that nothing is trained on, such as {missing[0]}" if missing else None,
    ]


def groups(contents: Contents) -> str | None:
    crossing = contents["groups"]["across_splits"]
    return f"{several(crossing, 'group')} with samples in more than one split: what belongs together should be on one side" if crossing else None


def constant(contents: Contents) -> list[str]:
    return [constant_columns(spec["constant"], spec["shape"][0]) for spec in contents["channels"].values() if spec["constant"]]


def constant_columns(count: int, columns: int) -> str:
    return f"{count:,} of the {columns:,} columns are the same in all training samples: encoders read them as 0"


def flat(contents: Contents) -> str | None:
    near = contents["thumbnails"]
    return f"{several(near['flat'], 'picture')} with next to no contrast" if near and near["flat"] > FLAT * near["compared"] else None


def of_modalities(contents: Contents) -> list[str]:
    """What each kind of data has to say of its samples."""
    specs = contents["channels"].values()
    return [line for spec in specs for line in find_modality(spec["modality"]).cautions(spec, contents["sizes"])]


def several(count: int, noun: str, nouns: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"


def contradiction(same: Contents) -> str:
    return ", ".join(f"{file}: {label}" for file, label in list(zip(same["files"], same["labels"], strict=True))[:3])
