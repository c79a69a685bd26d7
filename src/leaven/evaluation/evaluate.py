"""Several protocols on one run, as a scorecard."""

from collections.abc import Mapping, Sequence
from typing import Any

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.frozen import FrozenProtocol, evaluate_frozen
from leaven.evaluation.gains import add_gains
from leaven.evaluation.protocol import Protocol, Scores, Trial
from leaven.evaluation.protocols.tags import TagProbes
from leaven.evaluation.registry import configured, registry
from leaven.evaluation.scorecard import Scorecard

USUAL = ("knn", "linear", "few-label")


def evaluate_protocols(trial: Trial, names: Sequence[str | type[Protocol]] | None = None, settings: Mapping[str, Any] | None = None) -> Scorecard:
    """The scores of these protocols (None: those that suit the run and the data best) beside their floors. settings: {"few-label.counts": (1, 2)}."""
    protocols, left_out = fitting(configured(suited(trial) if names is None else names, settings), trial.data)
    frozen = [protocol for protocol in protocols if isinstance(protocol, FrozenProtocol) and protocol.frozen]
    results = [protocol.evaluate(trial) for protocol in protocols if protocol not in frozen]
    results += [evaluate_frozen(frozen, trial)] if frozen else []
    for result in results:
        add_gains(result.scores, {**result.floors, **result.beside})
    late = [what for result in results for what in result.left_out]
    if trial.beside and not late and not any(result.beside for result in results):
        raise UserError(f"no other model is scored by {', '.join(protocol.name for protocol in protocols)}", hint="leave --beside out")
    scores = {name: score for result in results for name, score in result.scores.items()}
    floors, beside = (together(arms) for arms in ([result.floors for result in results], [result.beside for result in results]))
    notes = list(dict.fromkeys([*left_out, *(note for result in results for note in result.notes)]))
    if late:
        notes.append(f"{', '.join(late)}: not scored, since the budget ends before; give more time with --budget")
    in_order = {protocol.name: scores[protocol.name] for protocol in protocols}
    mixed = {name: score for result in results for name, score in result.random_split.items()}
    return Scorecard(trial.method, trial.encoder_name, results[0].scored_on, in_order, floors, notes, beside=beside, random_split=mixed)


def together(parts: Sequence[Mapping[str, Scores]]) -> dict[str, Scores]:
    """The scores of each arm by several protocols."""
    return {name: {protocol: score for part in parts for protocol, score in part.get(name, {}).items()} for part in parts for name in part}


def fitting(protocols: Sequence[Protocol], data: DataSet) -> tuple[list[Protocol], list[str]]:
    """Those that score samples of this data, and notes about the others. UserError where none does."""
    tags = bool(data.spec.tag_names)
    unfit = [one for one in protocols if isinstance(one, FrozenProtocol) and not (one.of_tags if tags else one.of_classes)]
    fit = [protocol for protocol in protocols if protocol not in unfit]
    if unfit and not fit and tags:
        hint = "score tags with --protocol tags or retrieval, or read each list of tags as a class with --set labels=classes"
        raise UserError(f"one class per sample is needed ({listed(unfit)}), and these samples have tags", where=data.name, hint=hint)
    if unfit and not fit and data.spec.classes > 1:
        raise UserError(
            f"tags are needed ({listed(unfit)}), and these samples have classes", where=data.name, hint="read them with --set labels=tags"
        )
    why = "these samples have tags, not one class each" if tags else "these samples have one class each, not tags"
    return fit, [f"Left out, since {why}: {listed(unfit)}."] if unfit else []


def listed(protocols: Sequence[Protocol]) -> str:
    return ", ".join(protocol.name for protocol in protocols)


def suited(trial: Trial) -> Sequence[str]:
    """The protocols to use where the user names none."""
    suiting = {name: protocol.suits(trial) for name, protocol in registry().items()}
    best = max(suiting.values())
    chosen = [name for name, how_well in suiting.items() if how_well == best] if best else USUAL
    return [*chosen, *USUAL] if chosen == [TagProbes.name] else chosen  # the usual ones are then left out, and named
