"""How likely each text is by itself: a language model, or, of a set of slots, a MADE."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.data.spec import DataSpec
from leaven.methods.latent.made import MADE
from leaven.modalities import InputSpec, Tokens
from leaven.modalities.content import content_hash
from leaven.modules.seq2seq import Writer
from leaven.modules.slots import are_slots, slots_of


class Marginals(nn.Module):
    """log P of a text of each role.

    Where (nearly) all texts of a role are sets of slots, as in name[The Mill], food[French], a MADE says how likely the set is. Otherwise a language
    model says it of the tokens.

    inputs, widths: by role. slots: how many slots with their values are known, the most frequent ones; others do not count.
    """

    def __init__(self, inputs: Mapping[str, InputSpec], widths: Mapping[str, int], *, depth: int, heads: int, slots: int):
        super().__init__()
        self.languages = nn.ModuleDict(
            {role: Writer(input, 0, width=widths[role], depth=depth, heads=heads, dropout=0.0) for role, input in inputs.items()}
        )
        binary = DataSpec(0, {"x": InputSpec("vector", (slots,), (0.5,) * slots, (0.5,) * slots, range=(0.0, 1.0))})
        self.sets = nn.ModuleDict({role: MADE(binary, likelihood="bernoulli") for role in inputs})
        self.place = {role: number for number, role in enumerate(inputs)}
        self.register_buffer("known", torch.zeros(len(inputs), slots, dtype=torch.int64))

    known: Tensor
    """(roles, slots) hashes of the slots; 0 = none."""

    def are_sets(self, role: str) -> bool:
        return bool(self.known[self.place[role]].any())

    def know(self, role: str, texts: Sequence[str]) -> None:
        """Look at the training texts of a role."""
        keys = self.known[self.place[role]].zero_()
        if are_slots(texts):
            slots = Counter(slot for text in texts for slot in sorted(slots_of(text))).most_common(len(keys))
            keys[: len(slots)] = torch.tensor([content_hash(slot.encode()) for slot, _ in slots])

    def in_sets(self, role: str, texts: Sequence[str]) -> Float[Tensor, "texts slots"]:
        """Which of the known slots each text has, 0 or 1."""
        keys = self.known[self.place[role]]
        place = {key: number for number, key in enumerate(keys.tolist()) if key}
        sets = torch.zeros(len(texts), len(keys))
        for row, text in enumerate(texts):
            for slot in slots_of(text):
                if (number := place.get(content_hash(slot.encode()))) is not None:
                    sets[row, number] = 1
        return sets.to(keys.device)

    def log_prob(self, role: str, text: Tokens, sets: Float[Tensor, "batch slots"]) -> Float[Tensor, " batch"]:
        """sets: of `in_sets`, which counts where texts are sets; else the tokens do."""
        if not self.are_sets(role):
            return -self.languages[role](text)["nats"]
        made = self.sets[role]
        return made.likelihood.log_prob(made.conditionals(sets, 0), sets)
