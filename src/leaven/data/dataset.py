"""All usable samples of one source, in memory or mapped from disk."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.batch import TAGS, Batch, content_hashes
from leaven.data.label_files import chosen_labels
from leaven.data.names import Names
from leaven.data.order import Order, order_of
from leaven.data.sources.listing import Listing
from leaven.data.spec import DataSpec
from leaven.data.splits import hold_out, rows_to_train_on
from leaven.errors import UserError
from leaven.modalities import modality_of


@dataclass(frozen=True)
class Broken:
    """A file (or a table's row, as `file.parquet#row`) that could not be used, and why."""

    file: str
    why: str


@dataclass(frozen=True, eq=False)
class DataSet:
    """All usable samples of one source. N is their number.

    rows: all samples; values may be lazy (mapped from disk, sparse, not decoded yet), so take those that you need with `select`.
    spec: shapes, classes, and the statistics of the training rows.
    splits: row indices by "train", "val", "test" ("other" for what lies beside them), or {"all": ...}.
    hashes: (N,) int64 content hashes of the stored inputs. files: where each row came from ("" for arrays).
    fingerprint: hex; the same for the same contents, labels and splits, wherever they lie.
    unused: what the source holds beyond the roles in use, one phrase per kind. notes: what is unusual about how it was read, one phrase each.
    columns: all columns of the table from which the samples are. split: how `held_out` parts data without a test split of its own: "random",
    "contiguous" parts of its order, or "auto", which is contiguous where samples follow each other. codes: what the samples themselves call the
    classes or tags, where a file beside them has better names. group_names: of the source's groups, by their numbers, as far as they have some.
    listing: the pictures that were decoded, broken ones included; None where the samples came as arrays, or are some of another data set's.
    """

    name: str
    rows: Batch
    spec: DataSpec
    splits: dict[str, Tensor]
    hashes: Tensor
    files: Names
    broken: tuple[Broken, ...]
    fingerprint: str
    unused: tuple[str, ...] = ()
    listing: Listing | None = None
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    split: str = "auto"
    codes: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()

    @staticmethod
    def of(
        name: str,
        rows: Batch,
        *,
        splits: Mapping[str, Tensor] | None = None,
        class_names: Sequence[str] = (),
        hashes: Tensor | None = None,
        files: Iterable[str] | None = None,
        broken: Sequence[Broken] = (),
        unused: Sequence[str] = (),
        listing: Listing | None = None,
        notes: Sequence[str] = (),
        columns: Sequence[str] = (),
        split: str = "auto",
        tag_names: Sequence[str] = (),
        codes: Sequence[str] = (),
        group_names: Sequence[str] = (),
    ) -> DataSet:
        """A data set from its rows (numbered anew from 0); what is left out is computed. Raises UserError when there are no rows."""
        count = len(rows)
        if not count:
            raise UserError("no samples", where=name, hint="give data with at least one usable sample")
        rows = dataclasses.replace(rows, index=torch.arange(count))
        splits = {"all": torch.arange(count)} if splits is None else {split: part for split, part in splits.items() if len(part)}
        hashes = content_hashes(rows.roles) if hashes is None else hashes
        train = splits.get("train", torch.arange(count))
        roles = {role: modality_of(value).spec(value, train) for role, value in rows.roles.items()}
        if tag_names and (rows.label >= 0).any():
            raise UserError("samples have tags and classes", where=name, hint="give one of the two")
        spec = DataSpec(count, roles, len(class_names), int(rows.labeled.sum()), tuple(class_names), tuple(tag_names))
        names = Names.of(("",) * count if files is None else files)
        fingerprint = _fingerprint(rows, spec, splits, hashes, codes)
        described = tuple(broken), fingerprint, tuple(unused), listing, tuple(notes), tuple(columns), split, tuple(codes), tuple(group_names)
        return DataSet(name, rows, spec, splits, hashes, names, *described)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor:
        """(N,) int64 class ids, -1 = none."""
        return self.rows.label

    @property
    def groups(self) -> Tensor:
        """(N,) int64: which samples belong together, -1 = none: those of the source (one patient, one video), else contiguous parts of the order."""
        if self.order is None:
            return torch.full_like(self.rows.group, -1) if self.one_group and self.split == "random" else self.rows.group
        groups = torch.full((len(self),), -1, dtype=torch.int64)
        groups[self.order.rows] = self.order.part
        return groups

    @property
    def one_group(self) -> bool:
        """Whether all samples are of one group, such as windows of one recording."""
        group = self.rows.group
        return bool(group[0] >= 0) and bool((group == group[0]).all())

    def group_name(self, group: int) -> str:
        """What a group of the source is called: its own name, else the file of its first sample, else its number."""
        if group < len(self.group_names):
            return self.group_names[group]
        first = int((self.rows.group == group).nonzero()[0])
        return self.files[first].partition("#")[0] or str(group)

    @cached_property
    def order(self) -> Order | None:
        """How the samples to train on follow each other; None where they do not, or where the source's own
        split or groups decide what is held out."""
        if self.split == "random" or ((self.rows.group >= 0).any() and not self.one_group) or self.own_test() is not None:
            return None
        rows, role = self.train(), next(iter(self.spec.inputs))
        asked = self.split == "contiguous"
        return order_of(self.rows[role], rows, self.files.take(rows.numpy()), self.labels, asked=asked, together=self.one_group)

    @property
    def undecoded(self) -> bool:
        """Whether samples are decoded when they are selected, since the cache would not hold them."""
        return any(getattr(tensor, "costly", False) for value in self.rows.roles.values() for tensor in value.tensors().values())

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes

    def spec_of(self, rows: Tensor) -> DataSpec:
        """What is known of these rows (int64 indices): the data set's own specification, with their number and that of their labels."""
        return dataclasses.replace(self.spec, samples=len(rows), labeled=int(self.rows.labeled[rows].sum()))

    def train(self) -> Tensor:
        """The rows to pre-train on: the train split, or all rows where there is none (but never a val or test split)."""
        return rows_to_train_on(self.splits, len(self))

    def held_out(self) -> tuple[Tensor, Tensor, str, str]:
        """(train rows, test rows, name of the test part, note): where probes learn and where they are scored.

        The test split, else val (the one that has labels, if any do). Without either, contiguous parts of the order where samples follow
        each other, with a gap beside them; else a fifth of the rows by content hash, groups kept whole. Identical samples stay on one side. The note
        then says what that means. The note is empty for the data set's own splits. Raises UserError when
        nothing can be held out.
        """
        train = self.train()
        if (name := self.own_test()) is not None:
            return train, self.splits[name], name, ""
        seen = "pre-training saw these test inputs, without labels"
        if self.order is not None:
            train, test = self.order.hold_out(self.hashes)
            if not len(train) or not len(test):
                raise UserError("the order is too short to hold out a part of it", where=self.name, hint="give a test split, or --set split=random")
            return train, test, "held-out parts of the order", f"No labeled test split, and {self.order.note()}; {seen}."
        groups = self.groups[train]
        held = hold_out(self.hashes[train], groups)
        kept, there = (len(some[some >= 0].unique()) for some in (groups[held], groups))
        whole = f", groups kept whole ({kept:,} of {there:,})" if there else ""
        return train[~held], train[held], "held-out fifth", f"No labeled test split: a fifth was held out by content hash{whole}; {seen}."

    def own_test(self) -> str | None:
        """The split to test on: "test", else "val" (the one that has labels, if any do); None where there is none."""
        labeled = self.rows.labeled
        for name in ("test", "val"):
            test = self.splits.get(name)
            if test is None or ("train" not in self.splits and len(self.train()) == len(self)):
                continue
            if labeled[test].any() or not labeled.any():
                return name
        return None

    def overlap(self, a_rows: Tensor, b_rows: Tensor) -> int:
        """How many samples of b have the same content as a sample of a."""
        return int(torch.isin(self.hashes[b_rows], self.hashes[a_rows]).sum())

    def select(self, index: Tensor) -> Batch:
        """The samples of these rows (int64 indices)."""
        return self.rows.select(index)

    def subset(self, rows: Tensor) -> DataSet:
        """The data set of these rows (int64 indices) with the same classes; statistics are computed anew."""
        place = torch.full((len(self),), -1, dtype=torch.int64)
        place[rows] = torch.arange(len(rows))
        splits = {name: kept[kept >= 0] for name, part in self.splits.items() for kept in [place[part]]}
        return DataSet.of(
            self.name,
            self.rows.take(rows),
            splits=splits,
            class_names=self.spec.class_names,
            hashes=self.hashes[rows],
            files=self.files.take(rows.numpy()),
            broken=self.broken,
            unused=self.unused,
            notes=self.notes,
            columns=self.columns,
            split=self.split,
            tag_names=self.spec.tag_names,
            codes=self.codes,
            group_names=self.group_names,
        )

    def with_role(self, role: str, named: str) -> DataSet:
        """What plays this role alone, under another name, with its labels."""
        tags = {TAGS: self.rows.named} if self.spec.tag_names else {}
        return DataSet.of(
            self.name,
            dataclasses.replace(self.rows, roles={named: self.rows[role], **tags}),
            splits=self.splits,
            class_names=self.spec.class_names,
            tag_names=self.spec.tag_names,
            codes=self.codes,
            hashes=self.hashes_of(role),
            files=self.files,
            broken=self.broken,
            split="random" if self.order is None else "contiguous",
            group_names=self.group_names,
        )

    def hashes_of(self, role: str) -> Tensor:
        """(N,) int64 content hashes of one role alone, without the other inputs of each sample."""
        return self.hashes if list(self.spec.inputs) == [role] else content_hashes({role: self.rows[role]})

    def with_labels(self, labels: Any, class_names: Sequence[str] = ()) -> DataSet:
        """The same samples with other labels: N classes (integers or names; -1 or None = none), lists of tags or (N, tags) of 0 and 1, or the path of
        a csv file (file,label).

        Raises UserError when their number differs from N or a csv line matches no sample.
        """
        numbered = chosen_labels(labels, self.files, self.name, class_names)
        if len(numbered) != len(self):
            raise UserError(f"{len(numbered)} labels for {len(self)} samples", where=self.name)
        without = {role: value for role, value in self.rows.roles.items() if not self.spec.tag_names or role != TAGS}
        rows = dataclasses.replace(self.rows, roles={**without, **numbered.roles()}, label=numbered.ids)
        specs = {role: self.spec.roles[role] for role in without} | {
            role: modality_of(tags).spec(tags, rows.index) for role, tags in numbered.roles().items()
        }
        spec = DataSpec(len(self), specs, len(numbered.class_names), int(rows.labeled.sum()), numbered.class_names, numbered.tag_names)
        fingerprint = _fingerprint(rows, spec, self.splits, self.hashes)
        return dataclasses.replace(self, rows=rows, spec=spec, fingerprint=fingerprint, notes=(*self.notes, *numbered.notes), codes=())

    def names_of(self, row: int) -> tuple[str, ...] | None:
        """The name of a sample's class, or those of its tags; None where it has no label."""
        one = self.rows.named.main[row : row + 1]
        if not self.rows.naming.known(one):
            return None
        return tuple(self.spec.names[place] for place in (one[0].nonzero().flatten() if one.ndim == 2 else one).tolist())


def stacked(name: str, parts: Mapping[str, DataSet]) -> DataSet:
    """The samples of several data sets of the same classes one after another; the parts' names are added to those of their files."""
    sets = list(parts.values())
    starts = np.cumsum([0, *(len(part) for part in sets)])
    splits = {
        split: torch.cat([part.splits[split] + start for part, start in zip(sets, starts, strict=False) if split in part.splits])
        for split in dict.fromkeys(split for part in sets for split in part.splits)
    }
    rows = [part.rows for part in sets]
    return DataSet.of(
        name,
        Batch(
            {role: value.cat([batch.roles[role] for batch in rows]) for role, value in rows[0].roles.items()},
            *(torch.cat([getattr(batch, field) for batch in rows]) for field in ("label", "index", "group")),
        ),
        splits=splits,
        class_names=sets[0].spec.class_names,
        tag_names=sets[0].spec.tag_names,
        codes=sets[0].codes,
        group_names=sets[0].group_names,
        hashes=torch.cat([part.hashes for part in sets]),
        files=[f"{file}.{part}" for part, data in parts.items() for file in data.files],
        broken=[Broken(f"{broken.file}.{part}", broken.why) for part, data in parts.items() for broken in data.broken],
        unused=sets[0].unused,
        notes=sets[0].notes,
        split=sets[0].split,
    )


def singly(data: DataSet, inputs: Collection[str]) -> DataSet:
    """Texts of several roles one after another, for a method that reads them one at a time (its only role is x); other data unchanged.

    Beside them may stand one number per sample, such as a score, which is left out.
    """
    texts = [role for role, value in data.rows.roles.items() if modality_of(value).tokenized]
    others = [role for role, spec in data.spec.inputs.items() if role not in texts and spec.shape != (1,)]
    if list(inputs) != ["x"] or "x" in data.rows.roles or not texts or others:
        return data
    return stacked(data.name, {role: data.with_role(role, "x") for role in texts})


def _fingerprint(rows: Batch, spec: DataSpec, splits: Mapping[str, Tensor], hashes: Tensor, codes: Sequence[str] = ()) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr([(role, value.modality, value.shape) for role, value in sorted(spec.roles.items())]).encode())
    digest.update(repr(tuple(codes) or spec.class_names).encode())
    digest.update(repr(tuple(codes) or spec.tag_names).encode() if spec.tag_names else b"")
    for tensor in (hashes, rows.label, rows.group, *(part for _, part in sorted(splits.items()))):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    digest.update(repr([(name, len(part)) for name, part in sorted(splits.items())]).encode())
    if targets := {role: value for role, value in rows.roles.items() if modality_of(value).target}:
        digest.update(content_hashes(targets).numpy().tobytes())
    return digest.hexdigest()
