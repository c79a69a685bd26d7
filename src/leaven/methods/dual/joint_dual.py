from typing import Literal

import torch

from leaven.errors import UserError
from leaven.hyperparameters import Depth
from leaven.methods import Count, NonNegative, PartialShare, ShareBelowOne, Width
from leaven.methods.inverse import InverseTasks
from leaven.modules.slots import are_slots
from leaven.modules.text_scores import bleu_counts, bleu_of, f1, rouge_l, slot_counts
from leaven.modules.writing import Decoding

FEEDBACK = ("reconstruction", "scores", "marginals")


class JointDual(InverseTasks):
    """Two inverse tasks teach each other in a closed loop: one writes a text, and the other must get back from it to where the loop began (Su et al.
    2020, section 3).

    Beside the nats of each text given the other stands the loop that begins at each text. Its feedback is explicit (how likely the way back is, or
    how well the text that comes back matches) or implicit (how likely what was written is by itself).

    weight: of the loop; with 0 the two models are trained apart. feedback: "reconstruction", "scores" (BLEU and ROUGE-L, of a set of slots F1) and
    "marginals", several with commas between them, whose sum is then the reward. gradient: how the loop teaches the model that wrote the text,
    whose words were drawn: by "straight_through" each word is what was drawn and has the gradient of its probabilities (Bengio et al. 2013); by
    "policy" log P of the text is weighted by its reward, less the mean reward of the other samples (Williams 1992; Ranzato et al. 2016). shared:
    one network reads both texts, by embeddings of their own. depth: layers of each decoder. heads: of its attention. dropout: of its embeddings
    and layers. marginals: share of the steps that train the models of each text by itself, where these are feedback. slots: how many slots with
    their values such a model knows, where a text is a set of them.
    """

    paper = "Towards Unsupervised Language Understanding and Generation by Joint Dual Learning (Su et al.)"
    year = 2020

    def __init__(
        self,
        encoders,
        data,
        *,
        weight: NonNegative = 0.1,
        feedback: str = "reconstruction",
        gradient: Literal["straight_through", "policy"] = "straight_through",
        shared: bool = False,
        depth: Depth = 1,
        heads: Width = 4,
        dropout: ShareBelowOne = 0.1,
        marginals: PartialShare = 0.2,
        slots: Count = 256,
    ):
        self.feedback = tuple(name.strip() for name in feedback.split(","))
        if unknown := [name for name in self.feedback if name not in FEEDBACK]:
            raise UserError(f"no feedback is called {unknown[0]!r}", where="feedback", hint=f"choose {', '.join(FEEDBACK)}")
        if gradient == "straight_through" and self.feedback != ("reconstruction",):
            what = "the reconstruction alone has a gradient that goes straight through the words"
            raise UserError(what, where="feedback", hint="give --set gradient=policy for scores and marginals")
        self.weight, self.policy, self.needs_marginals = weight, gradient == "policy", weight > 0 and "marginals" in self.feedback
        super().__init__(encoders, data, depth=depth, heads=heads, dropout=dropout, shared=shared, marginals=marginals, slots=slots)

    @property
    def closes_loop(self) -> bool:
        return self.weight > 0 and not self.learns_marginals

    def views(self, batch, draw):
        """said: the text that each model writes of the other text, its words drawn. said_sets: which slots it has. scores: of what comes back."""
        views = super().views(batch, draw)
        if not self.closes_loop:
            return views
        texts, training, drawn = views["texts"], self.training, Decoding(temperature=1.0)
        self.eval()
        said = {target: self.generate(texts[source], source, target, drawn, draw.child(target)) for source, target in self.tasks}
        views |= {"said": said, "said_sets": {role: self.in_sets(role, text) for role, text in said.items()}}
        if "scores" in self.feedback:
            back = {source: self.generate(said[target], target, source, Decoding(), draw) for source, target in self.tasks}
            scores = {source: matches(self.as_written(source, back[source]), self.as_written(source, texts[source])) for source in back}
            views["scores"] = {source: torch.tensor(score, device=texts[source].ids.device) for source, score in scores.items()}
        self.train(training)
        return views

    def beyond_examples(self, views, read):
        """back: nats of each text given what was written of it. log_said: log P of that. reward: of it. begins: 1 where a loop begins at a text."""
        if not self.closes_loop:
            return {}
        texts = views["texts"]
        terms: dict[str, dict[str, torch.Tensor]] = {"back": {}, "log_said": {}, "reward": {}, "begins": {}}
        for source, target in self.tasks:
            said, begins = views["said"][target], views["present"][source]
            log = self.writers[target].log_shares(said, read[source])
            embedded = None
            if not self.policy:
                embeddings, shares = self.senses[target].network.get_input_embeddings(), log.exp()
                embedded = embeddings(said.ids)
                through = (shares - shares.detach()).to(embeddings.weight.dtype) @ embeddings.weight
                embedded = torch.cat([embedded[:, :1], embedded[:, 1:] + through], 1)
            returned = self.writers[source](texts[source], self.read(target, said, embedded))
            chosen = log.gather(2, said.ids[:, 1:, None])[..., 0]
            terms["back"][source] = returned["nats"] * begins
            terms["log_said"][source] = torch.where(said.mask[:, 1:], chosen, 0).sum(1)
            terms["reward"][source] = self.reward(views, source, target, -returned["nats"].detach() / returned["count"].clamp(min=1))
            terms["begins"][source] = begins.to(chosen.dtype)
        return terms

    def reward(self, views, source, target, log_back):
        """(B,) the sum of the kinds of feedback; log likelihoods are per token."""
        reward = log_back * ("reconstruction" in self.feedback)
        if "scores" in self.feedback:
            reward = reward + views["scores"][source]
        if "marginals" in self.feedback:
            said = views["said"][target]
            log = self.marginals.log_prob(target, said, views["said_sets"][target]).detach()
            reward = reward + log / said.mask[:, 1:].sum(1).clamp(min=1)
        return reward

    def loss(self, outputs):
        terms = super().loss(outputs)
        if not self.closes_loop:
            return terms
        loops = {f"loop_from_{role}": self.weight * nats.mean() for role, nats in outputs.back.items()}
        policies = {f"policy_from_{role}": self.weight * self.policy_loss(outputs, role) for role in outputs.back} if self.policy else {}
        return {**terms, **loops, **policies}

    def policy_loss(self, outputs, role):
        """Its gradient is minus that of the expected reward; the mean reward of the other samples, which does not depend on this one, makes it less
        noisy."""
        reward, begins = outputs.reward[role], outputs.begins[role]
        others = ((reward * begins).sum() - reward * begins) / (begins.sum() - 1).clamp(min=1)
        return -((reward - others) * begins * outputs.log_said[role]).mean()

    def measures(self, outputs):
        rewards = outputs.get("reward", {})
        return super().measures(outputs) | {f"{role}.reward": reward.mean().item() for role, reward in rewards.items()}


def matches(written, wanted):
    """One score (0-1) for each text: the F1 of slots, else the mean of BLEU and ROUGE-L."""
    pairs = list(zip(written, wanted, strict=True))
    if not pairs:
        raise UserError("scores need a tokeniser, which says what the tokens stand for", where="feedback")
    if are_slots(wanted):
        return [f1(slot_counts(text, [right])) for text, right in pairs]
    return [
        (bleu_of(counts, smooth=True) + rouge_l(text, [right])) / 2
        for (text, right), counts in zip(pairs, bleu_counts(written, [[right] for right in wanted]), strict=True)
    ]
