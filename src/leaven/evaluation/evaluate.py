"""Several protocols on one run, as a scorecard."""

from collections.abc import Mapping, Sequence
from typing import Any

from leaven.evaluation.frozen import FrozenProtocol, evaluate_frozen
from leaven.evaluation.gains import add_gains
from leaven.evaluation.protocol import Protocol, Trial
from leaven.evaluation.registry import configured, registry
from leaven.evaluation.scorecard import Scorecard

USUAL = ("knn", "linear", "few-label")


def evaluate_protocols(trial: Trial, names: Sequence[str | type[Protocol]] | None = None, settings: Mapping[str, Any] | None = None) -> Scorecard:
    """The scores of these protocols (None: those that suit the run and the data best) beside their floors. settings: {"few-label.counts": (1, 2)}."""
    protocols = configured(suited(trial) if names is None else names, settings)
    frozen = [protocol for protocol in protocols if isinstance(protocol, FrozenProtocol)]
    results = [protocol.evaluate(trial) for protocol in protocols if protocol not in frozen]
    results += [evaluate_frozen(frozen, trial)] if frozen else []
    for result in results:
        add_gains(result.scores, result.floors)
    scores = {name: score for result in results for name, score in result.scores.items()}
    floors: dict[str, Any] = {}
    for name, measured in (floor for result in results for floor in result.floors.items()):
        floors[name] = {**floors.get(name, {}), **measured}
    notes = list(dict.fromkeys(note for result in results for note in result.notes))
    in_order = {protocol.name: scores[protocol.name] for protocol in protocols}
    return Scorecard(trial.method, trial.encoder_name, results[0].scored_on, in_order, floors, notes)


def suited(trial: Trial) -> Sequence[str]:
    """The protocols to use where the user names none."""
    suiting = {name: protocol.suits(trial) for name, protocol in registry().items()}
    best = max(suiting.values())
    return [name for name, how_well in suiting.items() if how_well == best] if best else USUAL
