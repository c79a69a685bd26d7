"""What to beware of in a data set, in plain words. All read the keys of `Inspection.to_dict`."""

from collections.abc import Iterator
from typing import Any

from leaven.data.order import Order
from leaven.modalities import find_modality

FEW = 500  # samples
IMBALANCE = 10.0  # times as many in the largest class as in the smallest
RARE = 20  # samples of a tag
COPIED = 0.01  # of all samples
FLAT = 0.01  # of all pictures

Contents = dict[str, Any]


def cautions(contents: Contents) -> Iterator[str]:
    count = contents["splits"].get("train", contents["usable"])
    if count < FEW:
        yield f"{several(count, 'sample')} are few to learn from: compare with raw input and the untrained encoder, as `leaven evaluate` does"
    yield from about_copies(contents)
    yield from about_overlap(contents["overlap"])
    yield from about_labels(contents["labels"])
    if crossing := contents["groups"]["across_splits"]:
        yield f"{several(crossing, 'group')} with samples in more than one split: what belongs together should be on one side"
    specs = contents["channels"].values()
    yield from (constant_columns(spec["constant"], spec["shape"][0]) for spec in specs if spec["constant"])
    thumbnails = contents["thumbnails"]
    if thumbnails and thumbnails["flat"] > FLAT * thumbnails["compared"]:
        yield f"{several(thumbnails['flat'], 'picture')} with next to no contrast"
    for spec in specs:
        yield from find_modality(spec["modality"]).cautions(spec, contents["sizes"])


def about_copies(contents: Contents) -> Iterator[str]:
    exact, usable = contents["duplicates"], contents["usable"]
    sets = [*exact, *(contents["near_duplicates"] or ())]
    extra, extra_equal = (sum(len(copies["rows"]) - 1 for copies in some) for some in (sets, exact))
    if extra_equal and extra_equal == usable - 1:
        yield "all samples are the same: there is nothing to tell apart"
        return
    if extra > COPIED * usable:
        yield f"{share(extra, usable)} of the samples repeat others: they weigh more in training, and contrast pushes copies apart"
    if contradicting := [copies for copies in sets if "labels" in copies]:
        files = list(zip(contradicting[0]["files"], contradicting[0]["labels"], strict=True))[:3]
        example = ", ".join(f"{file}: {label or 'none'}" for file, label in files)
        yield f"copies with different labels ({len(contradicting):,} in all), such as {example}"


def about_overlap(overlap: Contents) -> Iterator[str]:
    parts = [(part, f"the {part['of']} split", f"in {part['in']}") for part in overlap["splits"]]
    if against := overlap["against"]:
        parts.append((against, against["data"], "here"))
    for part, name, where in parts:
        if count := part["exact"] + (part["near"] or 0):
            kinds = f"{part['exact']:,} exactly" + ("" if part["near"] is None else f", {part['near']:,} nearly")
            yield f"{count:,} of the {part['samples']:,} samples of {name} also stand {where} ({kinds}): scores on them flatter"


def about_labels(labels: Contents) -> Iterator[str]:
    counts = {name: count for name, count in labels["counts"].items() if count}
    if labels["tags"]:
        if rare := sorted((name for name in counts if counts[name] < RARE), key=counts.__getitem__):
            such = f"such as {rare[0]} ({counts[rare[0]]})"
            yield f"{several(len(rare), 'tag')} of fewer than {RARE} samples, {such}: their scores are rough; --set fewest={RARE} leaves them out"
        if missing := labels["not_trained"]:
            yield f"{several(len(missing), 'tag')} to test that nothing is trained on, such as {missing[0]}"
        return
    if len(counts) == 1:
        yield f"all labels name one class ({next(iter(counts))}): `leaven evaluate` needs two or more"
    if len(counts) < 2:
        return
    if labels["imbalance"] > IMBALANCE:
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        usual = f"{share(counts[most], labels['labeled'])}, which always answering {most} reaches"
        yield f"{most} has {labels['imbalance']:.0f} times as many samples as {least}: read an accuracy beside {usual}"
    if missing := labels["not_trained"]:
        yield f"{several(len(missing), 'class', 'classes')} to test that nothing is trained on, such as {missing[0]}"


def order_line(order: Order | None) -> str:
    """What a random split of samples that follow each other does; empty where they do not."""
    if order is None:
        return ""
    return f"{order.line()}: a random split would test on neighbours of what was learned, so `leaven evaluate` holds out contiguous parts"


def constant_columns(count: int, columns: int) -> str:
    return f"{count:,} of the {columns:,} columns are the same in all training samples: encoders read them as 0"


def several(count: int, noun: str, nouns: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"
