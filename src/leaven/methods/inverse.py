"""What methods share that learn two tasks at once, each of which is the inverse of the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from leaven.encoders.encoder import Places
from leaven.errors import UserError
from leaven.methods.marginals import Marginals
from leaven.methods.method import Method, Outputs, Recipe, Stage
from leaven.modalities import Tokens, modality_of
from leaven.modalities.tokenizer import TokenizerChoice
from leaven.modules.seq2seq import Writer


class InverseTasks(Method):
    """Two texts of a sample, such as a sentence and its meaning, each written from the other: by a decoder that looks at all places of what an
    encoder read. A text that is empty is absent, and only samples that have both teach the two tasks by example.

    depth: layers of each decoder, as wide as the encoder of the text that it writes. heads: of its attention. dropout: of its embeddings and layers.
    shared: one network reads both texts, by embeddings of their own (multi-task learning). marginals: share of the steps in which models of each text
    by itself are trained, where the method needs them. slots: how many slots with their values such a model knows, where a text is a set of them.
    """

    modality = "text"
    roles = ("text", "meaning")
    wants = "tokens"
    purpose = ""
    shapes_features = False
    reads_unpaired = True
    tokens = TokenizerChoice(lowercase=False)
    recipe = Recipe(lr=1e-3, batch=64, weight_decay=0.01, warmup=0.05, clip=1.0, betas=(0.9, 0.98))
    there: Tensor
    needs_marginals = False

    def __init__(self, encoders, data, *, depth: int, heads: int, dropout: float, shared: bool, marginals: float, slots: int):
        super().__init__()
        for role, encoder in encoders.items():
            if encoder.dim % heads:
                raise UserError(f"a width of {encoder.dim} of {role} does not divide into {heads} heads", where="heads")
        self.senses, self.marginal_share = nn.ModuleDict(encoders), marginals
        first, second = encoders
        self.tasks = ((first, second), (second, first))
        if shared:
            share_network(encoders[first], encoders[second])
        widths = {role: encoder.dim for role, encoder in encoders.items()}
        self.writers = nn.ModuleDict(
            {
                target: Writer(encoders[target].input, widths[source], width=widths[target], depth=depth, heads=heads, dropout=dropout)
                for source, target in self.tasks
            }
        )
        inputs = {role: encoder.input for role, encoder in encoders.items()}
        self.marginals = Marginals(inputs, widths, depth=depth, heads=heads, slots=slots)
        self.register_buffer("there", torch.zeros(data.samples, 2, dtype=torch.bool))

    @classmethod
    def inputs(cls, data):
        texts = [role for role, spec in data.inputs.items() if modality_of(spec).tokenized]
        if texts and len(texts) != 2:
            what = f"{cls.name} learns from two texts of a sample, and this data has {len(texts)}: {', '.join(texts)}"
            raise UserError(what, hint="name two columns, as in --columns text=COLUMN,meaning=COLUMN")
        return dict.fromkeys(texts or cls.roles, cls.wants)

    # --- stages ---

    def stages(self):
        learning = tuple(self.legs())
        if not self.needs_marginals:
            return learning
        rest = 1 - self.marginal_share
        alone = Stage("marginals", self.marginal_share, prepare=self.look, trains=(self.marginals,))
        return alone, *(Stage(leg.name, rest * leg.share, leg.prepare, leg.trains, members=leg.members) for leg in learning)

    def legs(self) -> Iterator[Stage]:
        """The stages that train the two tasks."""
        yield Stage("tasks", prepare=self.look, trains=(self.senses, self.writers), members=self.paired)

    @property
    def learns_marginals(self) -> bool:
        return self.needs_marginals and self.stage == 0

    def look(self, encode):
        """See which samples have which text, and whether texts are sets of slots."""
        texts: dict[str, list[str]] = {role: [] for role in self.senses}

        def there(batch: Any) -> Tensor:
            for role, seen in texts.items() if self.needs_marginals else ():
                seen += [text for text in self.as_written(role, batch[role]) if text.strip()]
            return torch.stack([self.present(role, batch[role]) for role in texts], 1)

        self.there.copy_(encode(there) > 0.5)
        if not self.there.all(1).any():
            first, second = self.senses
            what = f"no sample has both {first} and {second}: {self.name} learns from pairs"
            raise UserError(what, hint="give some samples with both; a few hundred are enough where others have one of them")
        for role, seen in texts.items() if self.learns_marginals else ():
            self.marginals.know(role, seen)

    def paired(self) -> Tensor:
        return self.there.all(1).nonzero().flatten()

    # --- texts ---

    def present(self, role: str, text: Tokens) -> Bool[Tensor, " batch"]:
        special = torch.tensor(list(self.senses[role].input.special.values()), device=text.ids.device)
        return (text.mask & ~torch.isin(text.ids, special)).any(1)

    def as_written(self, role: str, text: Tokens) -> list[str]:
        """Empty where there is no tokeniser."""
        tokenizer = self.senses[role].tokenizer
        return [] if tokenizer is None else tokenizer.decode(text)

    def in_sets(self, role: str, text: Tokens) -> Float[Tensor, "batch slots"]:
        if not (self.needs_marginals and self.marginals.are_sets(role)):
            return torch.zeros(len(text), 1, device=text.ids.device)
        return self.marginals.in_sets(role, self.as_written(role, text))

    def views(self, batch, draw):
        """texts: of each role; present: whether there is one; sets: which slots it has."""
        texts = {role: batch[role] for role in self.senses}
        present = {role: self.present(role, text) for role, text in texts.items()}
        return {"texts": texts, "present": present, "sets": {role: self.in_sets(role, text) for role, text in texts.items()}}

    def read(self, role: str, text: Tokens, embedded: Tensor | None = None) -> Places:
        """embedded: (batch, longest, dim), stands for the embeddings of the tokens."""
        inputs = {"input_ids": text.ids} if embedded is None else {"inputs_embeds": embedded}
        (states,) = self.senses[role].states(text.mask, **inputs)
        return Places(states[:, 0], states, text.mask)

    # --- learning ---

    def forward(self, views):
        """nats, count, right: of the text of each role, written from the other where there are both. marginal: log P of it by itself."""
        texts, present = views["texts"], views["present"]
        if self.learns_marginals:
            return Outputs(marginal={role: self.marginal(role, views) * present[role] for role in texts})
        both = torch.stack(list(present.values())).all(0)
        read = {role: self.read(role, text) for role, text in texts.items()}
        by_example = {target: self.writers[target](texts[target], read[source]) for source, target in self.tasks}
        terms = {name: {role: numbers[name] * both for role, numbers in by_example.items()} for name in ("nats", "count", "right")}
        return Outputs(**terms, **self.beyond_examples(views, read))

    def marginal(self, role, views):
        return self.marginals.log_prob(role, views["texts"][role], views["sets"][role])

    def beyond_examples(self, views: Any, read: dict[str, Places]) -> dict[str, Any]:
        """What else the loss needs. read: the places of the texts of each role."""
        return {}

    def loss(self, outputs):
        if self.learns_marginals:
            return {f"marginal_of_{role}": -nats.mean() for role, nats in outputs.marginal.items()}
        return {role: nats.mean() for role, nats in outputs.nats.items()}

    def measures(self, outputs):
        """How sure the models are of the right token: perplexity; and how often it is the likeliest."""
        if self.learns_marginals:
            return {}
        counts = {role: count.sum().clamp(min=1) for role, count in outputs.count.items()}
        perplexity = {f"{role}.perplexity": (outputs.nats[role].sum() / count).exp().item() for role, count in counts.items()}
        return perplexity | {f"{role}.right": (outputs.right[role].sum() / count).item() for role, count in counts.items()}

    def directions(self):
        return self.tasks

    def generate(self, value, source, target, decoding, draw):
        return self.writers[target].write(self.read(source, self.senses[source].in_tokens(value)), decoding, draw)

    def encoders(self):
        return dict(self.senses)


def share_network(first: Any, second: Any) -> None:
    """The second encoder takes over all parts of the first one's network but those that embed tokens and places. UserError where they do not fit."""
    if first.dim != second.dim or type(first.network) is not type(second.network):
        raise UserError("two different encoders cannot share a network", where="shared", hint="give both the same --encoder and width")
    for name, part in first.network.named_children():
        if all(module is not first.network.get_input_embeddings() for module in part.modules()):
            setattr(second.network, name, part)
