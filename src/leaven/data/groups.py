"""What belongs together: a field of a file-name pattern, a column, a folder, or what a recording's header says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from leaven.data import labels as labeling
from leaven.data.labels import LabelReading, Labels
from leaven.data.sources.listing import Listing
from leaven.errors import UserError

KNOWN = ("group", "subject", "speaker", "patient", "participant", "person", "user", "animal", "singer", "session", "recording")
"""Names of what belongs together, the widest first."""
LABEL = "label"


@dataclass(frozen=True)
class Pattern:
    """A pattern of file names, such as `{label}_{speaker}_{take}.wav`: of whole paths where it holds a `/`. `{}` stands for anything."""

    text: str

    @cached_property
    def fields(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.text)

    @cached_property
    def expression(self) -> re.Pattern[str]:
        parts = [re.sub(r"\W", "", part) for part in re.findall(r"{[^}]*}", self.text)]
        fixed = [re.escape(part).replace(r"\*", "[^/]*") for part in re.split(r"{[^}]*}", self.text)]
        if len(set(self.fields)) < len(self.fields):
            raise UserError(f"the pattern {self.text!r} names a field twice")
        fields = [f"(?P<{name}>[^/]+?)" if name else "[^/]+?" for name in parts] + [""]
        return re.compile("".join(text + field for text, field in zip(fixed, fields, strict=True)))

    def fit(self, name: str) -> Mapping[str, str] | None:
        """The fields of one file's name; None where it does not fit. The ending of the file may be left out of the pattern."""
        path = PurePosixPath(name.partition("#")[0])
        whole = str(path) if "/" in self.text else path.name
        match = self.expression.fullmatch(whole) or self.expression.fullmatch(whole.removesuffix(path.suffix))
        return None if match is None else match.groupdict()

    def values(self, listing: Listing, field: str) -> list[str | None]:
        """A field of each sample; None where its name does not fit. Raises UserError where hardly any does."""
        fits = [self.fit(name) for name in listing.files_of_samples()]
        missing = [name for name, fit in zip(listing.files_of_samples(), fits, strict=True) if fit is None]
        if 2 * len(missing) > len(fits):
            raise UserError(f"the pattern {self.text!r} does not fit files such as {missing[0]}", hint="as --groups '{label}_{speaker}_{take}.wav'")
        return [None if fit is None else fit[field] for fit in fits]

    def unfit(self, listing: Listing) -> list[str]:
        return sorted({name for name in listing.files_of_samples() if self.fit(name) is None})


def pattern_of(spec: str | None) -> Pattern | None:
    return Pattern(spec) if spec and "{" in spec else None


def labels_by_pattern(spec: str | None, listing: Listing) -> Labels | None:
    """The labels that a pattern's field `label` gives; None where it has none."""
    pattern = pattern_of(spec)
    return labeling.number(pattern.values(listing, LABEL)) if pattern and LABEL in pattern.fields else None


def groups_by(spec: str, listing: Listing) -> tuple[Labels, tuple[str, ...]]:
    """The groups, numbered and named as classes are, and notes.

    spec: a pattern; or names of columns, levels of folders, `recording` or what headers say, joined by `+`.

    Of a pattern, the field that is called as groups are counts, else the first beside the label. Raises UserError where nothing is called so.
    """
    pattern = pattern_of(spec)
    if pattern is not None:
        fields = [field for field in pattern.fields if field != LABEL]
        if not fields:
            return Labels.none(len(listing.names)), ()
        chosen = next((name for name in KNOWN if name in fields), fields[0])
        groups = labeling.number(pattern.values(listing, chosen))
        unfit = pattern.unfit(listing)
        notes = [f"{len(groups.names):,} groups by {chosen}"]
        notes += [f"{len(unfit):,} file{'s do' if len(unfit) > 1 else ' does'} not fit the pattern, such as {unfit[0]}"] if unfit else []
        return groups, tuple(notes)
    names = [name.strip() for name in spec.split("+")]
    columns: list[Sequence[object]] = []
    for name in names:
        values = listing.about(name)
        if values is None:
            hint = f"there are {', '.join(listing.known_names())}; or give a pattern, such as '{{label}}_{{speaker}}_{{take}}.wav'"
            raise UserError(f"nothing says the {name} of a sample", where=listing.root, hint=hint)
        columns.append(values)
    joined = [None if None in parts else " ".join(map(str, parts)) for parts in zip(*columns, strict=True)]
    groups = labeling.of_cells(joined, how=LabelReading("classes"))
    return groups, (f"{len(groups.names):,} groups by {' and '.join(names)}",)


def usual_groups(listing: Listing) -> tuple[Labels | None, tuple[str, ...]]:
    """The groups of the first of the usual names that a table gives, if there are several of them, and a note; None where there is none."""
    for name in KNOWN:
        values = listing.column_of(name)
        groups = None if values is None else labeling.of_cells(values, how=LabelReading("classes"))
        if groups is not None and len(groups.names) > 1:
            note = f"what is of one {name} stays together ({len(groups.names):,} by the column {name}; --groups says otherwise)"
            return groups, (note,)
    return None, ()
