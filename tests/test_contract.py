"""The method contract carries every shape of training with the same loop: players, stages, own networks, roles, targets, pools, sequences."""

import math

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F

import leaven
from leaven.draw import Draw
from leaven.losses import nt_xent
from leaven.methods.method import Method, Outputs, Recipe, Rule, Stage
from leaven.methods.registry import find_method
from leaven.modalities import Tokens, Vector
from leaven.training.trained import trained_method

# --- two players ---


class PointGAN(Method):
    """Two players in turn, noise from the draw, no encoder at all (Goodfellow et al. 2014, non-saturating)."""

    recipe = Recipe(lr=3e-3, batch=256, betas=(0.5, 0.9), weight_decay=0.0)
    players = ("discriminator", "generator")
    loss_over_batch = False

    def __init__(self, data, *, noise: int = 4, width: int = 64):
        super().__init__()
        self.noise, (dim,) = noise, data.roles["x"].shape
        self.generator = nn.Sequential(nn.Linear(noise, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
        self.discriminator = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def views(self, batch, draw):
        return {"real": batch["x"].numbers, "noise": draw.normal(len(batch), self.noise)}

    def forward(self, views, player):
        fake = self.generator(views["noise"])
        if player == "generator":
            return Outputs(fake=self.discriminator(fake))
        return Outputs(real=self.discriminator(views["real"]), fake=self.discriminator(fake.detach()))

    def loss(self, outputs, player):
        if player == "generator":
            return {"generator": F.softplus(-outputs.fake).mean()}
        return {"discriminator": F.softplus(-outputs.real).mean() + F.softplus(outputs.fake).mean()}


def test_a_gan_of_two_players_moves_its_samples_onto_the_data(tmp_path):
    points = torch.randn(2048, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + torch.tensor([2.0, -1.0])
    run = leaven.pretrain(points, method=PointGAN, steps=1200, out=tmp_path / "run", precision="fp32")
    gan = trained_method(run)
    samples = gan.generator(Draw("samples").normal(1000, 4))
    assert (samples.mean(0) - torch.tensor([2.0, -1.0])).abs().max() < 0.3
    assert samples.std(0).min() > 0.1 and samples.std(0).max() < 0.6


def test_the_other_player_stands_still_in_a_turn(tmp_path):
    points = torch.randn(512, 2)
    flat = {"recipe.schedule": "constant", "recipe.warmup": 0}
    before, after = (
        trained_method(leaven.pretrain(points, method=PointGAN, steps=steps, out=tmp_path / str(steps), precision="fp32", settings=flat)).state_dict()
        for steps in (2, 3)
    )
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"discriminator"}


# --- stages and own networks ---


class RBMStack(Method):
    """Two Bernoulli RBMs, trained one after the other by CD-1 on the hidden units below (Hinton, Osindero and Teh 2006)."""

    recipe = Recipe(optimizer="sgd", lr=0.1, batch=64, momentum=0.5, weight_decay=0.0, schedule="constant", warmup=0.0)
    loss_over_batch = False

    def __init__(self, data, *, hidden: tuple[int, ...] = (128, 64)):
        super().__init__()
        sizes = (math.prod(data.roles["x"].shape), *hidden)
        self.layers = nn.ModuleList(RBM(*pair) for pair in zip(sizes, hidden, strict=False))
        self.stack = Stack(self.layers)

    def stages(self):
        return [Stage(f"rbm{number + 1}", 1 / len(self.layers), trains=(layer,)) for number, layer in enumerate(self.layers)]

    def views(self, batch, draw):
        layer = self.layers[self.stage]
        visible = self.stack(batch["x"], self.stage)
        return {"v": visible, "h": draw.uniform(len(batch), len(layer.c)), "u": draw.uniform(len(batch), len(layer.b))}

    def forward(self, views):
        layer = self.layers[self.stage]
        with torch.no_grad():
            hidden = (layer.hidden(views["v"]) > views["h"]).to(views["v"].dtype)
            negative = (torch.sigmoid(hidden @ layer.w.T + layer.b) > views["u"]).to(views["v"].dtype)
        return Outputs(positive=layer.free_energy(views["v"]), negative=layer.free_energy(negative), rebuilt=layer.rebuild(views["v"]), v=views["v"])

    def loss(self, outputs):
        return {"contrastive_divergence": (outputs.positive - outputs.negative).mean()}

    def encoders(self):
        return {"encoder": self.stack}


class RBM(nn.Module):
    def __init__(self, visible, hidden):
        super().__init__()
        self.w, self.b, self.c = (
            nn.Parameter(0.01 * torch.randn(visible, hidden)),
            nn.Parameter(torch.zeros(visible)),
            nn.Parameter(torch.zeros(hidden)),
        )

    def hidden(self, v):
        return torch.sigmoid(v @ self.w + self.c)

    def rebuild(self, v):
        return torch.sigmoid(self.hidden(v) @ self.w.T + self.b)

    def free_energy(self, v):
        return -v @ self.b - F.softplus(v @ self.w + self.c).sum(1)


class Stack(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x, depth=None):
        hidden = x.unit().flatten(1).to(self.layers[0].w.dtype)
        for layer in list(self.layers)[:depth]:
            hidden = layer.hidden(hidden)
        return hidden


def test_a_stack_of_rbms_trains_layer_by_layer_and_is_loaded_as_an_encoder(tmp_path):
    run = leaven.pretrain("demo:digits", method=RBMStack, steps=400, out=tmp_path / "run", precision="fp32")
    stack, digits = leaven.load(run), leaven.data.open_data("demo:digits")
    pixels = digits.rows["x"][digits.splits["test"]]
    first = stack.layers[0]
    visible = pixels.unit().flatten(1)
    untrained = (visible - visible.mean(0)).square().mean()
    assert (first.rebuild(visible) - visible).square().mean() < 0.7 * untrained
    assert stack(pixels).shape == (600, 64)
    assert {row["stage"] for row in run.metrics} == {"rbm1", "rbm2"}


def test_a_finished_layer_does_not_move_in_the_next_stage(tmp_path):
    short = trained_method(leaven.pretrain("demo:digits", method=RBMStack, steps=20, out=tmp_path / "run", precision="fp32"))
    assert all(not torch.equal(layer.b, torch.zeros_like(layer.b)) for layer in short.layers)
    halfway = [row for row in leaven.Run(tmp_path / "run").metrics if row["stage"] == "rbm1"]
    assert max(row["step"] for row in halfway) == 10


# --- two roles, two encoders ---


class PairContrast(Method):
    """Two kinds of input of one thing agree; each has an encoder of its own."""

    roles = ("a", "b")
    recipe = Recipe(lr=3e-3, batch=128)
    rules = {"heads": Rule(lr_scale=0.5)}

    def __init__(self, encoders, *, temperature: float = 0.2, dim: int = 32):
        super().__init__()
        self.towers = nn.ModuleDict(encoders)
        self.heads = nn.ModuleDict({role: nn.Linear(encoder.dim, dim) for role, encoder in encoders.items()})
        self.temperature = temperature

    def views(self, batch, draw):
        return {role: batch[role] for role in self.roles}

    def forward(self, views):
        return Outputs({role: self.heads[role](self.towers[role](views[role])) for role in self.roles})

    def loss(self, outputs):
        return {"nt_xent": nt_xent(outputs.a, outputs.b, self.temperature)}

    def chance(self, outputs):
        return math.log(2 * len(outputs.a) - 1)

    def encoders(self):
        return dict(self.towers)


def test_two_encoders_learn_to_match_pairs_and_are_both_kept(tmp_path):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1024, 6, generator=generator)
    pairs = {"a": Vector(hidden @ torch.randn(6, 12, generator=generator)), "b": Vector((hidden @ torch.randn(6, 20, generator=generator)).tanh())}
    run = leaven.pretrain(pairs, method=PairContrast, steps=150, out=tmp_path / "run", precision="fp32")
    assert run.metrics[-1]["loss"] < 0.5 * math.log(255)
    assert leaven.load(run, "a")(pairs["a"].numbers).shape == leaven.load(run, "b")(pairs["b"].numbers).shape == (1024, 256)
    with pytest.raises(leaven.UserError, match="several encoders: a, b"):
        leaven.load(run)


# --- targets by index, prepared at each stage ---


class DigitClusters(Method):
    """k-means on the features gives each sample a target by its index; a fresh classifier learns it; again (Caron et al. 2018)."""

    recipe = Recipe(lr=2e-3, batch=128, lr_rule="none")
    loss_over_batch = False

    def __init__(self, encoder, data, *, clusters: int = 20, rounds: int = 3, views=None):
        super().__init__(encoder, views)
        self.clusters, self.rounds = clusters, rounds
        self.classifier = nn.Linear(encoder.dim, clusters)
        self.register_buffer("targets", torch.full((data.samples,), -1))

    def stages(self):
        return [Stage(f"round{number}", 1 / self.rounds, prepare=self.assign) for number in range(self.rounds)]

    def assign(self, encode):
        features = encode(lambda batch: self.encoder(batch["x"]))
        self.targets.copy_(torch.from_numpy(KMeans(self.clusters, n_init=1, random_state=0).fit_predict(features.numpy())))
        self.classifier.reset_parameters()

    def views(self, batch, draw):
        return {"x": self.augment(batch["x"], draw)[0], "target": self.targets[batch.index]}

    def forward(self, views):
        return Outputs(logits=self.classifier(self.encoder(views["x"])), target=views["target"])

    def loss(self, outputs):
        return {"cross_entropy": F.cross_entropy(outputs.logits, outputs.target)}


def test_targets_laid_down_by_index_are_learned_and_laid_down_again(tmp_path):
    run = leaven.pretrain("demo:digits", method=DigitClusters, steps=60, out=tmp_path / "run", settings={"encoder.width": 16})
    method = trained_method(run)
    assert (method.targets >= 0).all() and len(method.targets) == 1197
    assert [row["stage"] for row in run.metrics if row["step"] in (20, 40, 60)] == ["round0", "round1", "round2"]
    first = [row["loss"] for row in run.metrics if row["stage"] == "round2"]
    assert first[-1] < 0.85 * first[0]


# --- labeled and unlabeled, 1 to 7 ---


class PseudoLabels(Method):
    """A few labels, and confident predictions on seven times as many unlabeled samples (Lee 2013)."""

    recipe = Recipe(lr=3e-3, batch=128, lr_rule="none")
    pools = {"labeled": 1, "unlabeled": 7}
    loss_over_batch = False

    def __init__(self, encoder, data, *, threshold: float = 0.9, views=None):
        super().__init__(encoder, views)
        self.threshold = threshold
        self.classifier = nn.Linear(encoder.dim, data.classes)

    def views(self, batches, draw):
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]
        assert (labeled.label >= 0).all() and (unlabeled.label < 0).all() and len(unlabeled) == 7 * len(labeled)
        return {"x": labeled["x"], "label": labeled.label, "u": unlabeled["x"]}

    def forward(self, views):
        return Outputs(logits=self.classifier(self.encoder(views["x"])), label=views["label"], guesses=self.classifier(self.encoder(views["u"])))

    def loss(self, outputs):
        confidence, guess = outputs.guesses.detach().softmax(1).max(1)
        pseudo = F.cross_entropy(outputs.guesses, guess, reduction="none") * (confidence > self.threshold)
        return {"labels": F.cross_entropy(outputs.logits, outputs.label), "pseudo": pseudo.mean()}


def test_labeled_and_unlabeled_samples_are_drawn_in_the_proportion_that_the_method_names(tmp_path):
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (900,), generator=generator)
    points = torch.eye(3)[classes] * 4 + torch.randn(900, 3, generator=generator)
    labels = torch.where(torch.arange(900) < 30, classes, -1)
    run = leaven.pretrain((points, labels), method=PseudoLabels, steps=80, out=tmp_path / "run", precision="fp32")
    method = trained_method(run)
    guesses = method.classifier(method.encoder(points)).argmax(1)
    assert (guesses == classes)[30:].float().mean() > 0.9


def test_a_method_that_needs_labels_says_so_when_there_are_none(tmp_path):
    with pytest.raises(leaven.UserError, match="labels"):
        leaven.pretrain(torch.randn(64, 3), method="supervised", steps=2, out=tmp_path / "run")


# --- sequences ---


class NextToken(Method):
    """A recurrent network predicts each next token; padding is neither read nor predicted."""

    recipe = Recipe(lr=1e-2, batch=64, lr_rule="none")
    modality = "text"
    loss_over_batch = False

    def __init__(self, data, *, width: int = 32):
        super().__init__()
        self.vocabulary = data.roles["x"].vocabulary
        self.table, self.memory, self.next = (
            nn.Embedding(self.vocabulary, width),
            nn.GRU(width, width, batch_first=True),
            nn.Linear(width, self.vocabulary),
        )

    def views(self, batch, draw):
        return {"ids": batch["x"].ids, "mask": batch["x"].mask}

    def forward(self, views):
        hidden, _ = self.memory(self.table(views["ids"][:, :-1]))
        return Outputs(logits=self.next(hidden), target=views["ids"][:, 1:], mask=views["mask"][:, 1:])

    def loss(self, outputs):
        each = F.cross_entropy(outputs.logits.flatten(0, 1), outputs.target.flatten(), reduction="none").view_as(outputs.target)
        return {"next_token": ((each * outputs.mask).sum(1) / outputs.mask.sum(1)).mean()}

    def chance(self, outputs):
        return math.log(self.vocabulary)


def test_a_sequence_method_learns_a_toy_grammar(tmp_path):
    generator = torch.Generator().manual_seed(0)
    start = torch.randint(5, (512, 1), generator=generator)
    ids = (start + torch.arange(9)) % 5  # each token is followed by the next one of a ring
    lengths = torch.randint(4, 10, (512, 1), generator=generator)
    run = leaven.pretrain({"x": Tokens(ids, torch.arange(9) < lengths)}, method=NextToken, steps=100, out=tmp_path / "run", precision="fp32")
    assert run.metrics[-1]["loss"] < 0.1


# --- methods of a user's own ---


def test_a_class_derived_from_another_method_goes_by_its_own_name(tmp_path):
    class Colder(find_method("simclr")):
        """SimCLR at another temperature."""

    settings = {"encoder.width": 8, "encoder.features": 16}
    run = leaven.pretrain("demo:digits", method=Colder, steps=1, batch=32, out=tmp_path / "run", settings=settings)
    name = run.config["asked"]["method"]["name"]
    assert name.endswith("test_contract.py:Colder") and Colder.family == "own"
    assert isinstance(trained_method(run, Colder), Colder) and find_method("simclr").name == "simclr"
