"""The contract between a method and everything else: what a method says of itself, and what it inherits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_type_hints

import torch
from torch import Tensor, nn

from leaven.data.batch import Batch
from leaven.data.spec import DataSpec
from leaven.draw import Draw
from leaven.encoders.encoder import Encoder
from leaven.errors import UserError
from leaven.hyperparameters import Count, NonNegative, Positive, ShareBelowOne, Whole, convert
from leaven.modalities import Value
from leaven.modalities.tokenizer import TokenizerChoice
from leaven.modules.teacher import Teacher
from leaven.modules.writing import Decoding
from leaven.sampling import Nearness
from leaven.views import Views, default_views


@dataclass(frozen=True)
class Recipe:
    """How a method likes to be trained. `lr` holds at `batch`; `lr_rule` says how it follows another global batch ("linear", "sqrt", "none").

    optimizer: "adamw", "muon", "sgd" or "lars". warmup: share of the steps in which the rate rises from 0 (below 1); schedule: "cosine" (to 0) or
    "constant"; clip: largest gradient norm (None: any); momentum: of Muon, SGD and LARS; betas: of AdamW. Weight decay spares biases, norms,
    positions and tokens. steps: the usual length where none is given, or ten passes where that is longer (None: a usual time; 0: it takes no steps,
    since all is computed when its stages begin).
    """

    optimizer: Literal["adamw", "muon", "sgd", "lars"] = "adamw"
    lr: NonNegative = 1e-3
    batch: Count = 256
    weight_decay: NonNegative = 0.05
    lr_rule: Literal["sqrt", "linear", "none"] = "sqrt"
    warmup: ShareBelowOne = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: Positive | None = None
    momentum: ShareBelowOne = 0.9
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.95)
    steps: Whole | None = None

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            convert(getattr(self, name), kind, f"recipe.{name}")


@dataclass(frozen=True)
class Rule:
    """How parameters of one prefix differ from the recipe."""

    lr_scale: float = 1.0
    constant: bool = False
    weight_decay: float | None = None


@dataclass(frozen=True)
class Stage:
    """One leg of a training: a share of the steps, with optimisers of its own. `stages()` is asked anew when one begins.

    prepare: called with `encode` when the stage begins, not when it is resumed; what it lays down belongs in buffers.
    trains: the modules whose parameters move (None = all).
    grow: replaces or enlarges modules before that, from hyper-parameters alone: it is called again before a checkpoint of this stage, or of a later
    one, is loaded.
    members: gives the `index` of each sample that this stage trains on, after `prepare` (None = all).
    recipe: what differs from the method's recipe, such as {"lr": 1e-4}.
    """

    name: str = "train"
    share: float = 1.0
    prepare: Callable[[Encode], None] | None = None
    trains: tuple[nn.Module, ...] | None = None
    grow: Callable[[], None] | None = None
    members: Callable[[], Tensor] | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


Encode = Callable[[Callable[[Batch], Tensor]], Tensor]
"""Maps a function over the whole training set (or all that is held out) in order, without views, without gradients and in eval mode; returns the
stacked rows."""


class Outputs(dict[str, Any]):
    """What `forward` returns: named tensors (or lists of tensors), one row for each sample of the batch or of one of its pools."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"outputs hold {', '.join(self)}, not {name!r}") from None


ABILITIES = "log_prob", "decode", "sample", "from_text", "generate", "segment", "detect"


class Method(nn.Module):
    """A way of learning without labels.

    Positional arguments of `__init__` are what Leaven provides: `encoder`, or `encoders` (one per role), and `data` (a DataSpec), each only if named.
    Keyword-only arguments are the hyper-parameters: typed, with defaults, stored in config.json. A method that takes `**others` and hands them on to
    its parent has those of the parent as well.
    """

    name: ClassVar[str] = ""
    family: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    year: ClassVar[int] = 0

    recipe: ClassVar[Recipe] = Recipe()
    roles: ClassVar[tuple[str, ...]] = ("x",)
    """The parts that an input can play; a batch has these keys."""
    modality: ClassVar[str | tuple[str, ...] | None] = None
    """Set only where the paper needs one kind of data, or one of several."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What else it asks of a modality: names of attributes of `Modality` that must not be false or empty, such as "likelihoods"."""
    wants: ClassVar[str] = "features"
    """What the encoder must offer: features, maps or tokens."""
    tokens: ClassVar[TokenizerChoice] = TokenizerChoice()
    """Which tokeniser is trained for it, where it learns from text."""
    without: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters of its parent that the method does not have."""
    purpose: ClassVar[str] = "contrast"
    """Which default views of the input's modality suit the method: contrast, reconstruction, plain, ...; empty where it takes samples as they are."""
    loss_over_batch: ClassVar[bool] = True
    """Whether `loss` compares samples with each other. If not, it must be a mean over samples, and is never gathered."""
    players: tuple[str, ...] = ()
    """Names of submodules that are trained in turn, one a step (("discriminator", "generator")), while the others' parameters take no gradient. A
    name that stands there several times has as many turns per round. Empty when all parameters move together."""
    pools: ClassVar[dict[str, int]] = {}
    """For semi-supervised methods: the proportion of "labeled" and "unlabeled" samples; `views` then gets a dict of batches."""
    nearness: Nearness | None = None
    """For methods that compare windows of recordings: which are near each other. `views` then gets three batches of as many samples: "window", "near"
    and "far"; their names and equal shares are the `pools`."""
    rules: Mapping[str, Rule] = {}
    """Parameters that differ from the recipe, by their name or a prefix of it."""
    guards: ClassVar[Mapping[str, str]] = {}
    """What keeps the method from collapsing: hyper-parameters that switch it off when they are false, 0 or empty, and what it is, in words."""
    shapes_features: ClassVar[bool] = True
    """Whether the loss depends on the features that are kept. Where it does not (but on tokens, or on a discriminator's verdict), features that point
    one way for a while are no collapse."""
    kept_whole: ClassVar[bool] = True
    """Whether a run keeps all that the method is built from. Otherwise it names a model elsewhere, which is never loaded on the word of the run."""
    classifies: ClassVar[bool] = False
    """Whether it learns from labels to name classes: `classify` then gives logits."""
    learns_unlabeled: ClassVar[bool] = False
    """Whether it learns to name classes from labeled samples and from unlabeled ones beside them."""
    learns_labels: bool = False
    """Whether it learns from labels, where samples have them, although it names no classes: samples whose labels it saw are then not tested on. A
    method that a setting keeps from that sets this in `__init__`."""
    reads_unpaired: ClassVar[bool] = False
    """Whether it learns from samples that lack one of their texts as well; an absent text is empty."""
    adopts_classifier: bool = False
    """Whether it begins with the classifier of the run that its encoder comes from (see `adopt_classifier`)."""
    needs_space: bool = False
    """Whether it must begin with the space that another method learned for its encoders (see `adopt_space`)."""
    continues: ClassVar[bool] = False
    """Whether it only goes on from a trained encoder."""
    whole_pictures: ClassVar[bool] = False
    """Whether it reads whole pictures at a size of the data's own, with what lies in them, and not the squares that its encoder was trained for."""
    inherits: ClassVar[bool] = False
    """Whether it keeps all encoders of a run that one of its own comes from, and the space in which they are compared (see `adopt_space`)."""
    log_prob_is: ClassVar[str] = ""
    """What `log_prob` returns, in words: "log-likelihood", "lower bound of it" or "estimate of it"; empty where there is none."""

    judged_by: ClassVar[str] = "loss"
    """What falls in the log while it learns: the loss, or one of its `measures` where the loss of a batch says little about progress."""

    config: dict[str, Any]
    stage: int = 0
    """Number of the stage that is being trained, set by the loop."""

    def __init__(self, encoder: Encoder | None = None, views: Views | None = None):
        super().__init__()
        if encoder is not None:
            self.encoder = encoder
        if views is None and encoder is not None and self.purpose:
            views = default_views(self.purpose, encoder.input.modality)
        if views is not None:
            self.augment = views if encoder is None else views.for_encoder(encoder)

    @classmethod
    def inputs(cls, data: DataSpec) -> dict[str, str]:
        """The roles that the method reads in this data set, and what the encoder of each must offer."""
        return dict.fromkeys(cls.roles, cls.wants)

    def encode(self, views: list[Value], network: nn.Module | None = None) -> list[Tensor]:
        """The features of each view, by the network (None: the encoder).

        Views of one shape go through in one pass, which is faster; batch norm then sees them together, as in SimCLR.
        """
        features: list[Tensor] = [torch.empty(0)] * len(views)
        for shape in dict.fromkeys(view.shape for view in views):
            alike = [place for place, view in enumerate(views) if view.shape == shape]
            together = (network or self.encoder)(views[0].cat([views[place] for place in alike]))
            for place, part in zip(alike, together.split([len(views[place]) for place in alike]), strict=True):
                features[place] = part
        return features

    def views(self, batch: Batch, draw: Draw) -> Any:
        """Random views of a batch (of a dict of batches where there are `pools`): any nesting of lists and dicts of values and tensors, one row for
        each sample."""
        return self.augment(batch["x"], draw)

    def forward(self, views: Any, *player: str) -> Outputs:
        raise NotImplementedError

    def loss(self, outputs: Outputs, *player: str) -> dict[str, Tensor]:
        """Named terms, whose sum is minimised. Called in fp32, with the outputs of the whole global batch where `loss_over_batch`."""
        raise NotImplementedError

    def chance(self, outputs: Outputs) -> float | None:
        """The loss of a model that knows nothing, for a batch of this size; None where no such number exists."""
        return None

    def classify(self, value: Value) -> Tensor:
        """(B, names) logits of the classes, or tags, of each sample."""
        raise NotImplementedError(f"{self.name} names no classes")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the classes, or tags, by their logits."""
        return logits.softmax(1)

    def segment(self, value: Value) -> Tensor:
        """(B, classes, height, width) logits of the class of each pixel of whole pictures."""
        raise NotImplementedError(f"{self.name} names no pixels")

    def detect(self, value: Value) -> list[dict[str, Tensor]]:
        """Of each whole picture: boxes (n, 4) left, top, right, bottom in its pixels, scores (n,) from 0 to 1 and labels (n,), best first."""
        raise NotImplementedError(f"{self.name} finds no objects")

    def log_prob(self, value: Value, draw: Draw) -> Tensor:
        """(B,) nats of each sample, summed over its values: what `log_prob_is` says."""
        raise NotImplementedError(f"{self.name} gives no likelihood")

    def decode(self, codes: Tensor) -> Value:
        """Samples from their features."""
        raise NotImplementedError(f"{self.name} does not decode features")

    def sample(self, count: int, draw: Draw, label: Tensor | None = None) -> Value:
        """New samples. label: (count,) int64 classes, for methods that learn labels."""
        raise NotImplementedError(f"{self.name} generates no samples")

    @property
    def sampled(self) -> Encoder:
        """The encoder that reads what `sample` makes."""
        return self.encoder

    def from_text(self, text: Value, draw: Draw) -> Value:
        """A new sample for each text, of which it says what the sample shows."""
        raise NotImplementedError(f"{self.name} generates nothing from texts")

    def directions(self) -> tuple[tuple[str, str], ...]:
        """Which roles `generate` reads, and which one it makes of each, as (source, target)."""
        return ()

    def generate(self, value: Value, source: str, target: str, decoding: Decoding, draw: Draw) -> Value:
        """A sample of the role `target` for each sample of the role `source`. decoding: how texts are written."""
        raise NotImplementedError(f"{self.name} makes nothing of another input")

    @classmethod
    def abilities(cls) -> list[str]:
        """What a trained method does beside features: some of log_prob, decode, sample, from_text, generate, segment and
        detect."""
        return [name for name in ABILITIES if getattr(cls, name) is not getattr(Method, name)]

    def measures(self, outputs: Outputs) -> dict[str, float]:
        """The method's own measures of a training batch, for the log, whenever health is checked."""
        return {}

    def examine(self, views: Any) -> dict[str, float]:
        """More measures, of views of the same clean samples with the same draw every time, so that they can be compared. Called in training mode
        and without gradients, unless it enables them; batch norm and other buffers are restored afterwards."""
        return {}

    def diagnose(self, measures: dict[str, float]) -> dict[str, str]:
        """What is wrong according to the measures: verdict -> why, with the usual causes. Announced when it holds at two checks in a row."""
        return {}

    def held_out(self, encode: Encode) -> dict[str, float]:
        """Measures of held-out samples, where there are some, for the log; the first should become small.

        The state in which it was smallest is kept, and too long without improvement ends the training. What it lays down belongs in buffers.
        """
        raise UserError(f"{self.name} cannot score held-out samples", hint="train without early stopping")

    @property
    def settled(self) -> bool:
        """Whether the current stage has nothing left to train."""
        return False

    def finish(self) -> None:
        """Called once when training has ended, in the state that is kept."""

    def concluded(self) -> list[dict[str, Any]]:
        """What the training decided by itself, as {what, value, why}, after `finish`."""
        return []

    def cautions(self) -> dict[str, str]:
        """What a user of the finished run must know: verdict -> why."""
        return {}

    def after_step(self, outputs: Outputs, progress: float) -> None:
        """Called after each optimiser step: teachers move here. `outputs` are those that `loss` saw last, detached: of the global batch if
        `loss_over_batch`."""
        for module in self.modules():
            if isinstance(module, Teacher):
                module.update(progress)

    def stages(self) -> Iterable[Stage]:
        """The legs of a training, one after another; their shares sum to 1."""
        return (Stage(),)

    def grow_until(self, stage: int) -> None:
        """Give a method that was just built the networks that it has in this stage."""
        for number, begun in enumerate(list(self.stages())[: stage + 1]):
            if begun.grow is not None:
                self.stage = number
                begun.grow()

    def encoders(self) -> dict[str, nn.Module]:
        """What is kept at the end, by name: one encoder, one a role, or none."""
        return {"encoder": self.encoder} if hasattr(self, "encoder") else {}

    def teacher_weights(self) -> str | None:
        """A hash of the weights of a model that it learns from but does not keep; a training that goes on must find the same."""
        return None

    @property
    def shared_scale(self) -> float:
        """What cosines in that space are multiplied by, so that a softmax of them says how likely each partner is."""
        return 1.0

    def shared_space(self) -> dict[str, nn.Module]:
        """By role, what takes the features of its encoder to a space in which those of all roles are compared; empty where there is none."""
        return {}

    def adopt_classifier(self, weight: Tensor, bias: Tensor) -> None:
        """Begin with the linear classifier of the run that the encoder comes from: (names, dim) and (names,), in the order of the data's classes."""
        raise NotImplementedError(f"{self.name} adopts no classifier")

    def adopt_space(self, space: Mapping[str, nn.Linear], scale: float | None = None) -> bool:
        """Begin with the space of the run that encoders of these roles come from: what takes their features there. scale: `shared_scale` of that run
        (None: the method's own stays). Returns whether the space fits."""
        return False


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """The tensors of a nesting of dicts, lists and tuples, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from tensors_of(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from tensors_of(value)


def map_tensors(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The same nesting with every tensor replaced by function(tensor, and those at its place in the others)."""
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, Value):
        return tree.map(function)
    if isinstance(tree, dict):
        return type(tree)({name: map_tensors(function, value, *(other[name] for other in others)) for name, value in tree.items()})
    if isinstance(tree, list | tuple):
        return type(tree)(map_tensors(function, *values) for values in zip(tree, *others, strict=True))
    return tree
