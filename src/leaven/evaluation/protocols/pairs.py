from collections.abc import Callable, Sequence
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
from leaven.evaluation.protocols.retrieval import Ranking, cuts, rank_kinds, rows_among_first, summarize
from leaven.modalities.floor import INPUT


@dataclass(frozen=True)
class Pairs(Protocol):
    """How well each test sample finds its partner among the partners of all test samples, by the cosine of features: mean reciprocal rank.

    The partners of all samples that have the same content as a query are equally right, and so is whatever has the content of one of them. Where
    each side has an encoder of its own, both directions are scored; the score is their mean. Beside it stand how often a right partner is among the
    first (recall at 1, 5, 10), and the median rank of the first right one.

    roles: the two roles that belong together, as in image,text (empty: anchor,positive or a,b, or those of the run's two encoders). at: numbers of
    nearest partners, among which a right one is looked for.
    """

    name = "pairs"
    title = "pairs (mean reciprocal rank)"
    needs = "pairs: roles anchor and positive, a and b, or those of a run's two encoders"
    floors = (INPUT, UNTRAINED)
    tested_on = "pairs"
    headline = "map"  # with one right partner, the average precision is the reciprocal rank

    roles: str = ""
    at: tuple[int, ...] = (1, 5, 10, 100)

    @classmethod
    def suits(cls, trial: Trial) -> int:
        if len(trial.encoders) > 1:
            return 3 if len(set(trial.encoders) & set(trial.data.rows.roles)) > 1 else 0
        return 2 if len(trial.data.spec.names) < 2 and pair_of(trial.data) else 0

    def evaluate(self, trial: Trial) -> Result:
        data, roles = trial.data, self.pair(trial)
        directions = ((0, 1), (1, 0)) if trial.encoder_for(roles[0]) is not trial.encoder_for(roles[1]) else ((0, 1),)

        def measure(first: Rows, second: Rows, rows: Tensor) -> dict[str, Any]:
            sides, at = (first, second), cuts(self.at, len(rows))
            rankings: dict[str, Ranking] = {}
            contents = [content_hashes({"x": data.rows[role].take(rows)}).unique(return_inverse=True)[1] for role in roles]
            for query, partner in directions:
                ranking = rank_partners(similarities(sides[query], sides[partner]), contents[query], contents[partner], at)
                rankings[f"{roles[query]} to {roles[partner]}"] = ranking
            mean = Ranking(*(np.mean(columns, axis=0) for columns in zip(*rankings.values(), strict=True)))
            groups = data.groups[rows]
            score = summarize(mean, at, trial.seed, groups) | {"per_sample": PerSample(torch.from_numpy(mean.average), groups)}
            score["median_rank"] = float(np.median([ranking.place for ranking in rankings.values()]))
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
            names = tuple(role for role in data.rows.roles if role in trial.readers)
            if len(names) < 2:
                for role, encoder in trial.encoders.items():
                    trial.read_by(encoder, role)  # which says what is missing
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
        found = rows_among_first(arms, "found", "found among the first")
        directions = [name for name in (arms[0] or {}).get("directions", {})]
        both_ways = [row for name in directions for row in self.of_direction(name, [(arm or {}).get("directions", {}).get(name) for arm in arms])]
        return [*super().rows(arms), *found, ["median rank", *map(rank_cell, arms)], *rows_among_first(arms, "ndcg", "nDCG at"), *both_ways]

    def of_direction(self, name: str, arms: Sequence[Any]) -> list[list[str]]:
        """The same numbers of one direction, as in "image to text"."""
        ats = " / ".join(str(point["at"]) for point in arms[0].get("found", ()))
        shares = [" / ".join(f"{100 * point['found']:.1f}" for point in (arm or {}).get("found", ())) for arm in arms]
        found = [[f"{name}, among the first {ats}", *(f"{share} %" if share else "" for share in shares)]] if ats else []
        return [[name, *map(self.cell, arms)], *found, [f"{name}, median rank", *map(rank_cell, arms)]]


def rank_partners(cosine: Callable[[Tensor], Tensor], query: Tensor, partner: Tensor, at: Sequence[int]) -> Ranking:
    """How partners are ranked for each query. query, partner: (pairs,) numbers from 0 that are equal where the content is."""
    return rank_kinds(cosine, query, lambda number: torch.isin(partner, partner[query == number]), len(partner), at)


def rank_cell(score: Any) -> str:
    """A median rank, as in "3 of 320"."""
    return f"{score['median_rank']:g} of {score['queries']:,}" if score and "median_rank" in score else ""
