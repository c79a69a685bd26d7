"""Is this training still worth its time? Measures of the features and the loss, and verdicts in plain words."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.encoders.encoder import Encoder
from leaven.methods.method import Method, Outputs
from leaven.modalities.modality import fitted
from leaven.threads import one_thread
from leaven.training.step import Autocast, in_double, unchanged_buffers

EXAMINED = 256  # samples for a method's own measures


@dataclass(frozen=True)
class Verdict:
    """Something wrong, since which step, and the usual causes. `fatal`: going on is useless. until_step: when it was no longer seen, if it passed."""

    verdict: str
    since_step: int
    why: str
    fatal: bool = False
    until_step: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "since_step": self.since_step, "until_step": self.until_step, "why": self.why}

    def line(self) -> str:
        return f"{self.verdict}: {self.why if self.until_step is None else f'no longer since step {self.until_step}'}"


def feature_std(features: Float[Tensor, "samples dim"]) -> float:
    """How far normalised features spread: sqrt of their total variance, 1 when they point everywhere, 0 when all point one way
    (Chen and He 2021, section 4.1, over all dimensions together)."""
    z = F.normalize(features, dim=1, eps=1e-6)
    return (1 - z.mean(0).square().sum()).clamp(min=0).sqrt().item()


def rankme(features: Float[Tensor, "samples dim"]) -> float:
    """Effective rank: exp of the entropy of the normalised singular values (Garrido et al. 2023, eq. 1)."""
    gram = features.double() @ features.double().T if len(features) < features.shape[1] else features.double().T @ features.double()
    with one_thread():
        values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if values.sum() <= 0:
        return 1.0
    shares = values / values.sum() + 1e-7
    return torch.exp(-(shares * shares.log()).sum()).item()


def alignment(a: Float[Tensor, "samples dim"], b: Float[Tensor, "samples dim"]) -> float:
    """Mean squared distance between normalised features of two views (Wang and Isola 2020); 0 is best."""
    return (F.normalize(a, dim=1, eps=1e-6) - F.normalize(b, dim=1, eps=1e-6)).square().sum(1).mean().item()


def uniformity(features: Float[Tensor, "samples dim"]) -> float:
    """log mean exp(-2 d^2) over pairs of normalised features (Wang and Isola 2020); 0 when all are equal, -4 when uniform on the sphere."""
    distances = torch.pdist(F.normalize(features, dim=1, eps=1e-6)).square()
    return (torch.logsumexp(-2 * distances, 0) - math.log(len(distances))).item()


def neighbour_accuracy(features: Float[Tensor, "samples dim"], labels: Tensor, k: int = 20, temperature: float = 0.07) -> float:
    """Leave-one-out weighted kNN (Wu et al. 2018) among the labeled samples: a query never finds itself."""
    labeled = labels >= 0
    z, labels = F.normalize(features[labeled], dim=1, eps=1e-6), labels[labeled]
    similarity = (z @ z.T).fill_diagonal_(float("-inf"))
    near, index = similarity.topk(min(k, len(z) - 1))
    votes = torch.zeros(len(z), int(labels.max()) + 1, device=z.device).scatter_add_(1, labels[index], (near / temperature).exp())
    return (votes.argmax(1) == labels).float().mean().item()


def information(logits: Float[Tensor, "samples choices"]) -> float:
    """How much an assignment says of its sample: the mutual information of the two, in nats. 0 when all samples are assigned alike, whether to one
    choice or evenly to all; the log of the number of choices when each takes as many and none is in doubt."""
    log = logits.double().log_softmax(1)
    mean = log.logsumexp(0) - math.log(len(log))
    return ((log.exp() * log).sum(1).mean() - (mean.exp() * mean).sum()).clamp(min=0).item()


def choices_used(logits: Float[Tensor, "samples choices"]) -> float:
    """To how many choices samples are assigned: exp of the entropy of the mean assignment, from 1 to the number of choices."""
    log = logits.double().log_softmax(1)
    mean = log.logsumexp(0) - math.log(len(log))
    return (-(mean.exp() * mean).sum()).exp().item()


class Monitor:
    """Looks at the same clean samples every so often, and at every logged loss.

    A verdict takes two looks in a row, so that one odd moment is not enough, and it passes after two looks that do not confirm it.
    """

    features_collapsed = 0.2  # of the spread before training, since what is normal depends on the encoder's last layer
    embeddings_collapsed = 0.1  # of 1: embeddings are centred by their loss, and spread over 0.5 in healthy trainings
    rank_collapsed = 2.0
    information_collapsed = 0.1  # of the highest so far
    choices_collapsed = 1.5
    # Where a guard against collapse is off, less is needed; where none is, a fall as deep can be sound (embeddings of BYOL come down to a tenth).
    unguarded_rank_collapsed = 0.15  # of the highest so far
    unguarded_information_collapsed = 0.35
    unguarded_choices_collapsed = 0.025  # of all there are; DINO with its centring never uses less than a tenth
    patience = 2

    def __init__(self, method: Method, probe: Batch, autocast: Autocast, say: Callable[[Verdict], None], pools: dict[str, Batch] | None = None):
        """probe: clean samples. pools: such samples of each pool, for a method whose views are of pools."""
        self.method, self.probe, self.autocast, self.say, self.pools = method, probe, autocast, say, pools
        self.verdicts: list[Verdict] = []
        self.suspicions: dict[str, list[int]] = {}
        self.spread_at_start: dict[str, float] = {}
        self.most: dict[str, float] = {}

    def state(self) -> dict[str, Any]:
        return {
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "suspicions": dict(self.suspicions),
            "spread_at_start": dict(self.spread_at_start),
            "most": dict(self.most),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.verdicts = [Verdict(**verdict) for verdict in state["verdicts"]]
        self.suspicions, self.spread_at_start, self.most = state["suspicions"], state["spread_at_start"], state["most"]

    def inputs(self) -> None:
        """Before the first step: inputs that cannot teach anything."""
        for role, value in self.probe.inputs.items():
            tensors = value.tensors().values()
            if tensors and len(value) > 1 and all(torch.equal(sample, tensor[0]) for tensor in tensors for sample in tensor):
                why = f"all {len(value)} samples looked at are the same ({role}); there is nothing to tell apart. Is this the right folder?"
                self.give(Verdict("constant data", 0, why, fatal=True))

    @torch.no_grad()
    def look(self, step: int, outputs: Outputs) -> dict[str, float]:
        """Measures of every encoder's features on the clean samples, in eval mode; judges collapse."""
        measures: dict[str, float] = {}
        collapsed: list[str] = []
        encoders = self.method.encoders()
        for name, encoder in encoders.items():
            if len(encoders) > 1 and name not in self.probe.roles:  # taken over from another run
                continue
            role = name if name in self.probe.roles else next(iter(self.probe.roles))
            prefix = "" if len(encoders) == 1 else f"{name}."
            was_training = self.method.training
            encoder.eval()
            with self.autocast():
                parts = (self.probe[role][start : start + 256] for start in range(0, len(self.probe), 256))
                features = torch.cat([encoder(fitted(part, encoder.input) if isinstance(encoder, Encoder) else part) for part in parts]).float()
            self.method.train(was_training)  # not the encoder: a method may keep parts of it in eval mode
            if not features.isfinite().all():
                continue
            measures[f"{prefix}feature_std"] = std = feature_std(features)
            measures[f"{prefix}rankme"] = rankme(features[:512])
            measures[f"{prefix}uniformity"] = uniformity(features[:512])
            if len(set(self.probe.label[self.probe.label >= 0].tolist())) > 1:
                measures[f"{prefix}knn"] = neighbour_accuracy(features, self.probe.label)
            before = self.spread_at_start.setdefault(name, std)
            if std < self.features_collapsed * before and self.method.shapes_features:
                collapsed.append(f"features of {name} point one way: their spread fell from {before:.3f} to {std:.3f}")
        unguarded = self.unguarded()
        embeddings = outputs.get("embeddings")
        if isinstance(embeddings, list):
            measures["embedding_std"] = spread = min(feature_std(embedding) for embedding in embeddings)
            if spread < self.embeddings_collapsed:
                collapsed.append(f"embeddings point one way: their spread is {spread:.3f} of 1")
            measures["embedding_rank"] = rank = min(rankme((embedding - embedding.mean(0))[:512]) for embedding in embeddings)
            self.most["embedding_rank"] = most = max(rank, self.most.get("embedding_rank", 0.0))
            if rank < max(self.rank_collapsed, self.unguarded_rank_collapsed * most if unguarded else 0.0):
                collapsed.append(f"embeddings lie in few directions: their effective rank fell from {most:.1f} to {rank:.1f}")
        assignments = outputs.get("assignments")
        if isinstance(assignments, list):
            measures["information"] = nats = information(assignments[0])
            self.most["information"] = most = max(nats, self.most.get("information", 0.0))
            used, choices = choices_used(assignments[0]), assignments[0].shape[1]
            measures["choices_used"] = used
            if used < max(self.choices_collapsed, self.unguarded_choices_collapsed * choices if unguarded else 0.0):
                collapsed.append(f"samples are assigned to {used:.1f} of {choices:,} prototypes")
            if nats < (self.unguarded_information_collapsed if unguarded else self.information_collapsed) * most:
                collapsed.append(f"all samples get the same assignment: its information about a sample fell from {most:.3f} to {nats:.3f} nats")
        why = f"{'; '.join(collapsed)}; {self.causes()}"
        self.suspect(step, "collapsed", bool(collapsed), why, fatal=True)
        own = {**self.method.measures(outputs), **self.examined()} if outputs else {}
        measures |= own
        diagnoses = self.method.diagnose(own) if own else {}
        earlier = [verdict.verdict for verdict in self.verdicts if not verdict.fatal] if own else []
        for verdict in dict.fromkeys([*self.suspicions, *diagnoses, *earlier]):  # in an order that every process has
            if verdict in ("collapsed", "not learning"):
                continue
            self.suspect(step, verdict, verdict in diagnoses, diagnoses.get(verdict, ""), fatal=False)
        seen = outputs.get("features")
        if isinstance(seen, list) and len(seen) >= 2:
            measures["alignment"] = alignment(seen[0], seen[1])
        return measures

    def examined(self) -> dict[str, float]:
        """The method's own numbers of some of the clean samples."""
        if type(self.method).examine is Method.examine:
            return {}
        device = self.probe.index.device
        samples: Any = self.pools or self.probe.select(torch.arange(min(EXAMINED, len(self.probe)), device=device))
        views = self.method.views(samples, Draw("look", device=device))
        double = any(parameter.dtype == torch.float64 for parameter in self.method.parameters())
        with unchanged_buffers(self.method), self.autocast():
            return self.method.examine(in_double(views) if double else views)

    def causes(self) -> str:
        """Why a collapse is likely: the part that should prevent it is switched off, or what else usually does it."""
        if off := self.unguarded():
            switches = " and ".join(f"{name}={self.method.config[name]!r}" for name in off)
            return f"{switches}: that takes away what keeps {self.method.name} from it, {' and '.join(self.method.guards[name] for name in off)}"
        return "usual causes: a learning rate that is too high, too weak a guard against it (see the method's settings), or views that share nothing"

    def unguarded(self) -> list[str]:
        """Guards against collapse that are switched off."""
        return [name for name in self.method.guards if not self.method.config[name]]

    def judge_loss(self, step: int, progress: float, loss: float, chance: float | None) -> None:
        """A loss that stays at the level of a model that knows nothing."""
        if chance is None or progress < 0.3 or step < 50:
            return
        why = (
            f"the loss is {loss:.3f}, and a model that knows nothing has {chance:.3f}; usual causes: a temperature or learning rate far off, "
            "views that share nothing, or samples that are all alike"
        )
        self.suspect(step, "not learning", loss > 0.97 * chance, why, fatal=True)

    def suspect(self, step: int, verdict: str, holds: bool, why: str, fatal: bool) -> None:
        before = next((known for known in self.verdicts if known.verdict == verdict), None)
        if holds == (before is not None and before.until_step is None):
            self.suspicions.pop(verdict, None)
            return
        seen = self.suspicions.setdefault(verdict, [])
        seen.append(step)
        if len(seen) >= self.patience:
            self.give(replace(before, until_step=None if holds else seen[0]) if before else Verdict(verdict, seen[0], why, fatal))
            del self.suspicions[verdict]

    def give(self, verdict: Verdict) -> None:
        """Announce a verdict, which replaces an earlier one of the same name."""
        places = [number for number, known in enumerate(self.verdicts) if known.verdict == verdict.verdict] or [len(self.verdicts)]
        self.verdicts[places[0] : places[0] + 1] = [verdict]
        self.say(verdict)

    def fatal(self) -> Verdict | None:
        return next((verdict for verdict in self.verdicts if verdict.fatal), None)
