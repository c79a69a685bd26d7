from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.batch import content_hashes
from leaven.errors import UserError
from leaven.evaluation.floors import UNTRAINED
from leaven.evaluation.gains import PerSample
from leaven.evaluation.pairing import Rows, evaluate_pairs, pair_of, similarities
from leaven.evaluation.protocol import Protocol, Result, Trial
from leaven.evaluation.protocols.retrieval import AT, Ranking, cuts, rank_samples, rows_among_first, summarize
from leaven.modalities.floor import INPUT


@dataclass(frozen=True)
class Pairs(Protocol):
    """How well each test sample finds its partner among the partners of all test samples, by the cosine of features: mean reciprocal rank.

    Partners of the same content are equally right. Where each side has an encoder of its own, both directions are scored; the score is their mean.

    roles: the two roles that belong together, as in image,text (empty: anchor,positive or a,b, or those of the run's two encoders). at: numbers of
    nearest partners, among which the right one is looked for.
    """

    name = "pairs"
    title = "pairs (mean reciprocal rank)"
    needs = "pairs: roles anchor and positive, a and b, or those of a run's two encoders"
    floors = (INPUT, UNTRAINED)
    tested_on = "pairs"
    headline = "map"  # with one right partner, the average precision is the reciprocal rank

    roles: str = ""
    at: tuple[int, ...] = AT

    @classmethod
    def suits(cls, trial: Trial) -> int:
        if len(trial.encoders) > 1:
            return 3 if set(trial.encoders) <= set(trial.data.rows.roles) else 0
        return 2 if len(trial.data.spec.names) < 2 and pair_of(trial.data) else 0

    def evaluate(self, trial: Trial) -> Result:
        data, roles = trial.data, self.pair(trial)
        directions = ((0, 1), (1, 0)) if trial.encoder_for(roles[0]) is not trial.encoder_for(roles[1]) else ((0, 1),)

        def measure(first: Rows, second: Rows, rows: Tensor) -> dict[str, Any]:
            sides, at = (first, second), cuts(self.at, len(rows))
            rankings: dict[str, Ranking] = {}
            for query, partner in directions:
                content = content_hashes({"partner": data.rows[roles[partner]].take(rows)}).unique(return_inverse=True)[1]
                ranking = rank_samples(similarities(sides[query], sides[partner]), content, content, at)
                rankings[f"{roles[query]} to {roles[partner]}"] = ranking
            mean = Ranking(*(np.mean(columns, axis=0) for columns in zip(*rankings.values(), strict=True)))
            groups = data.groups[rows]
            score = summarize(mean, at, trial.seed, groups) | {"per_sample": PerSample(torch.from_numpy(mean.average), groups)}
            if len(rankings) > 1:
                score["directions"] = {name: summarize(ranking, at, trial.seed, groups) for name, ranking in rankings.items()}
            return score

        return evaluate_pairs(trial, self.name, roles, measure)

    def pair(self, trial: Trial) -> tuple[str, str]:
        """The two roles of the data. UserError where there are none, or too many to choose from."""
        data = trial.data
        if self.roles:
            names = tuple(name.strip() for name in self.roles.split(","))
            if len(names) != 2 or not set(names) <= set(data.rows.roles):
                have = ", ".join(data.rows.roles)
                raise UserError(f"pairs.roles takes two roles of the data, not {self.roles!r}", where=data.name, hint=f"the data has {have}")
            return names  # type: ignore[return-value]
        if len(trial.encoders) > 1:
            read = {trial.read_by(encoder, role) for role, encoder in trial.encoders.items()}
            names = tuple(role for role in data.rows.roles if role in read)
            if len(names) != 2:
                hint = f"choose two with --set pairs.roles={','.join(names[:2])}"
                raise UserError(f"the run has {len(names)} encoders, for {', '.join(names)}", where=data.name, hint=hint)
            return names  # type: ignore[return-value]
        roles = pair_of(data)
        if roles is None:
            hint = "say which columns they are, as in --columns anchor=said,positive=heard"
            raise UserError("there are no pairs: no anchor and positive, no a and b", where=data.name, hint=hint)
        return roles

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        directions = (arms[0] or {}).get("directions", {})
        of_directions = [[name, *(self.cell((arm or {}).get("directions", {}).get(name)) for arm in arms)] for name in directions]
        first = rows_among_first(arms, "recall", "found among the first")
        return super().rows(arms) + of_directions + first + rows_among_first(arms, "ndcg", "nDCG at")
