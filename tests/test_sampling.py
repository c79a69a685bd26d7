"""What makes up the next batch: pools beside each other, stages that change their samples and networks, streams through a buffer; all resume."""

from contextlib import nullcontext

import pytest
import torch
from test_exactness import assert_same
from test_resume import Killed, assert_identical, final_state, without_clocks
from torch import nn
from torch.nn import functional as F

import leaven
from leaven.data import Batch, open_data
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.methods.method import Method, Outputs, Recipe, Stage
from leaven.modalities import Vector
from leaven.run import Run
from leaven.sampling import Members, Stream
from leaven.sampling.stream import Policy, Reservoir
from leaven.training.loop import Training
from leaven.training.plan import Plan
from leaven.training.request import Request
from leaven.training.trained import trained_method


def clusters(count=200, labeled=40):
    """Points of three classes, of which the first ones have labels."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (count,), generator=generator)
    points = 3 * torch.eye(3)[classes] + torch.randn(count, 3, generator=generator)
    return points, torch.where(torch.arange(count) < labeled, classes, -1)


def killed_at(step, train):
    """Train until this step is done, which is in no checkpoint yet; then again, to the end."""

    def kill(done):
        if done == step:
            raise Killed

    with pytest.raises(Killed):
        train(on_step=kill)
    return train()


# --- two pools ---


class FixMatch(Method):
    """Confident guesses at weak views are the targets of strong ones (Sohn et al. 2020), aligned with the mean guess of the batch."""

    recipe = Recipe(optimizer="sgd", lr=0.1, batch=32, lr_rule="none")
    pools = {"labeled": 1, "unlabeled": 7}
    learns_labels = True

    def __init__(self, data, *, threshold: float = 0.6):
        super().__init__()
        self.threshold = threshold
        self.classifier = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, data.classes))

    def views(self, batches, draw):
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]
        assert (labeled.label >= 0).all() and (unlabeled.label < 0).all() and len(unlabeled) == 7 * len(labeled)
        weak, strong = (unlabeled["x"].numbers + amount * draw.normal(len(unlabeled), 3) for amount in (0.1, 1.0))
        return {"x": labeled["x"].numbers, "label": labeled.label, "weak": weak, "strong": strong}

    def forward(self, views):
        logits = {name: self.classifier(views[name]) for name in ("x", "weak", "strong")}
        return Outputs(label=views["label"], **logits)

    def loss(self, outputs):
        guesses = outputs.weak.detach().softmax(1)
        confidence, guess = F.normalize(guesses / guesses.mean(0), p=1, dim=1).max(1)
        pseudo = F.cross_entropy(outputs.strong, guess, reduction="none") * (confidence > self.threshold)
        return {"labels": F.cross_entropy(outputs.x, outputs.label), "pseudo": pseudo.mean()}

    def examine(self, views):
        return {"right": (self(views).x.argmax(1) == views["label"]).float().mean().item()}


def fixmatch_weights(folder, accumulate=1):
    data = open_data(clusters())
    torch.manual_seed(0)
    method = FixMatch(data.spec).double()
    Training(method, method.recipe, data.rows, data.train(), Plan(6, 32), Run(folder), Request(accumulate=accumulate), nullcontext).run()
    return {name: weight.detach().clone() for name, weight in method.state_dict().items()}


def test_pools_whose_loss_is_over_the_batch_train_the_same_in_micro_batches_and_processes(pair, tmp_path):
    torch.set_num_threads(1)
    whole = fixmatch_weights(tmp_path / "whole")
    assert_same(whole, fixmatch_weights(tmp_path / "halves", accumulate=2))
    first, second = pair.run(fixmatch_weights, tmp_path / "pair", 2)
    assert_same(whole, first)
    assert_same(first, second, 0)


def test_a_method_of_pools_examines_clean_samples_of_each(tmp_path):
    run = leaven.pretrain(clusters(), method=FixMatch, steps=40, out=tmp_path / "run", report=False)
    right = [row["right"] for row in run.metrics if "right" in row]
    assert len(right) == 5 and right[-1] > 0.7


def test_a_pool_that_does_not_divide_is_refused_by_name(tmp_path):
    with pytest.raises(leaven.UserError, match="a batch of 4 labeled samples does not divide into 8 equal parts"):
        leaven.pretrain(clusters(), method=FixMatch, steps=1, accumulate=8, out=tmp_path / "run")


# --- stages ---


class NoisyStudent(Method):
    """A teacher learns the labels, guesses the others, and a larger student learns all guesses that are sure (Xie et al. 2020)."""

    recipe = Recipe(lr=2e-2, batch=32, lr_rule="none")
    loss_over_batch = False
    learns_labels = True

    def __init__(self, encoder, data, *, sure: float = 0.6, student: int = 24):
        super().__init__(encoder)
        self.sure, self.student, self.classes = sure, student, data.classes
        self.classifier = nn.Linear(encoder.dim, data.classes)
        self.register_buffer("targets", torch.full((data.samples,), -1))

    def stages(self):
        yield Stage("teacher", 0.4, prepare=self.label, members=self.labeled)
        yield Stage("student", 0.6, prepare=self.label, members=self.labeled, grow=self.grow, recipe={"lr": 1e-2})

    def grow(self):
        self.teacher = nn.Sequential(self.encoder, self.classifier).requires_grad_(False)
        self.encoder = build_encoder("mlp", self.encoder.input, {"width": self.student})
        self.classifier = nn.Linear(self.encoder.dim, self.classes)

    def label(self, encode):
        self.targets.copy_(encode(lambda batch: batch.label))
        if self.stage:
            sureness, guesses = encode(lambda batch: self.teacher(batch["x"])).softmax(1).max(1)
            self.targets.copy_(torch.where((self.targets < 0) & (sureness > self.sure), guesses, self.targets))

    def labeled(self):
        return (self.targets >= 0).nonzero().flatten()

    def views(self, batch, draw):
        noise = (0.0, 0.3)[self.stage] * draw.normal(len(batch), 3)
        return {"x": batch["x"].numbers + noise, "target": self.targets[batch.index]}

    def forward(self, views):
        return Outputs(logits=self.classifier(self.encoder(views["x"])), target=views["target"])

    def loss(self, outputs):
        assert (outputs.target >= 0).all()
        return {"cross_entropy": F.cross_entropy(outputs.logits, outputs.target)}


def noisy_student(out, **arguments):
    settings = {"encoder.width": 8}
    return leaven.pretrain(
        clusters(), method=NoisyStudent, steps=30, settings=settings, out=out, checkpoint_seconds=0.0, report=False, **arguments
    )  # fmt: skip


def test_stages_relabel_change_their_samples_and_grow_the_network(tmp_path):
    method = trained_method(noisy_student(tmp_path / "run"), NoisyStudent)
    points, labels = clusters()
    assert method.encoder.dim == 24 and method.teacher[0].dim == 8
    assert 40 < len(method.labeled()) < 200 and torch.equal(method.targets[:40], labels[:40])
    assert leaven.load(tmp_path / "run")(points).shape == (200, 24)
    rates = [row["lr"] for row in leaven.Run(tmp_path / "run").metrics]
    assert max(rates[:12]) > 0.019 and max(rates[12:]) < 0.0101


@pytest.mark.parametrize("step", [5, 13, 22])
def test_a_training_killed_in_a_stage_that_grew_goes_on_to_the_bit(step, tmp_path):
    whole = noisy_student(tmp_path / "whole")
    again = killed_at(step, lambda **hook: noisy_student(tmp_path / "killed", **hook))
    assert without_clocks(whole) == without_clocks(again)
    assert_identical(final_state(whole), final_state(again))


def test_a_rehearsal_of_stages_that_grow_leaves_the_method_as_it_was(tmp_path):
    data = open_data(clusters())
    method = NoisyStudent(build_encoder("mlp", data.spec.roles["x"], {"width": 8}), data.spec)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    training = Training(method, method.recipe, data.rows, data.train(), Plan(0, 32), Run(tmp_path), Request(), nullcontext)
    assert training.rehearse(0.01) > 0
    assert_identical(before, dict(method.state_dict()))
    assert training.step == training.stages.number == method.stage == 0


# --- streams ---


class Arrivals:
    """Any Python iterable of batches: points that drift, in batches of unequal size."""

    def __iter__(self):
        for number in range(9):
            generator = torch.Generator().manual_seed(number)
            yield Batch.of(x=Vector(torch.randn(5 + number, 4, generator=generator) + number))


class Skipping(Arrivals):
    """The same, which need not be read to be skipped."""

    def after(self, count):
        (whole,) = (Vector.cat([batch["x"] for batch in self]),)
        return iter([Batch.of(x=whole[count:])])


class Hardest(Policy):
    """Puts new samples in place of those that were rebuilt best."""

    observes = True

    def __init__(self):
        self.errors = torch.full((24,), torch.inf, dtype=torch.float64)

    def places(self, numbers, capacity, draw):
        easiest = self.errors.argsort(stable=True)[: len(numbers)]
        places = torch.where(numbers < capacity, numbers, easiest)
        self.errors[places] = torch.inf
        return places

    def observe(self, places, outputs):
        self.errors[places] = (outputs.rebuilt - outputs.x).square().sum(1)

    def state_dict(self):
        return {"errors": self.errors}

    def load_state_dict(self, state):
        self.errors = state["errors"]


class Rebuild(Method):
    """A linear auto-encoder."""

    recipe = Recipe(lr=1e-2, batch=16, lr_rule="none")
    loss_over_batch = False

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4))

    def views(self, batch, draw):
        return batch["x"].numbers

    def forward(self, views):
        return Outputs(rebuilt=self.network(views), x=views)

    def loss(self, outputs):
        return {"error": (outputs.rebuilt - outputs.x).square().mean()}


POLICIES = {"fifo": Policy, "reservoir": Reservoir, "hardest": Hardest}


def train_on_stream(folder, policy, batches=None, accumulate=1, on_step=lambda step: None):
    """The final state after 20 steps, in which the stream is read more than once."""
    torch.manual_seed(0)
    method = Rebuild().double()
    stream = Stream(batches or Arrivals(), capacity=24, fresh=7, policy=POLICIES[policy]())
    request = Request(accumulate=accumulate, checkpoint_seconds=0.0)
    Training(method, method.recipe, stream, None, Plan(20, 16), Run(folder), request, nullcontext, on_step=on_step).run()
    return final_state(Run(folder))


@pytest.mark.parametrize("batches", [Arrivals, Skipping])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_training_on_a_stream_goes_on_to_the_bit(policy, batches, tmp_path):
    whole = train_on_stream(tmp_path / "whole", policy)
    again = killed_at(14, lambda **hook: train_on_stream(tmp_path / "killed", policy, batches(), **hook))
    assert whole["sampler"]["seen"] == 16 + 19 * 7 > 9 * 9
    assert_identical(whole, again)
    assert without_clocks(Run(tmp_path / "whole")) == without_clocks(Run(tmp_path / "killed"))


@pytest.mark.parametrize("policy", POLICIES)
def test_two_processes_and_micro_batches_train_on_the_same_stream(policy, pair, tmp_path):
    torch.set_num_threads(1)
    whole = train_on_stream(tmp_path / "whole", policy)
    first, _ = pair.run(train_on_stream, tmp_path / "pair", policy, None, 2)
    assert_same(whole["method"], first["method"])
    assert torch.equal(whole["sampler"]["buffer"]["index"], first["sampler"]["buffer"]["index"])


def test_a_buffer_holds_the_latest_samples_or_a_fair_choice_of_all():
    numbers = torch.arange(40_000)
    assert Policy().places(numbers[8:13], 5, Draw(0)).tolist() == [3, 4, 0, 1, 2]
    places = Reservoir().places(numbers, 5, Draw(0))
    assert places[:5].tolist() == [0, 1, 2, 3, 4]
    later = places[5:] >= 0
    expected = (5 / (numbers[5:] + 1)).sum().item()  # a sample that n came before is kept with probability 5 / (n + 1)
    assert abs(later.sum().item() - expected) < 4 * expected**0.5
    assert places[5:][later].unique().tolist() == [0, 1, 2, 3, 4]


def test_what_a_stream_cannot_do_is_said_in_one_line():
    with pytest.raises(leaven.UserError, match="can be read only once"):
        Stream(iter(Arrivals()), capacity=8, fresh=2)
    with pytest.raises(leaven.UserError, match="a buffer of 8 samples does not fill a batch of 16"):
        Stream(Arrivals(), capacity=8, fresh=2).sampler(16, 0, pools={})
    with pytest.raises(leaven.UserError, match="gives no samples"):
        Stream([], capacity=8, fresh=2).sampler(4, 0, pools={})
    with pytest.raises(leaven.UserError, match="must have one shape"):
        Stream([Batch.of(x=Vector(torch.zeros(4, 2))), Batch.of(x=Vector(torch.zeros(4, 3)))], capacity=8, fresh=2).sampler(6, 0, pools={}).batch(0)


# --- passes ---


def test_every_pass_shows_each_sample_once_in_another_order():
    sampler = Members(Batch.of(x=Vector(torch.randn(12, 2)))).sampler(4, 0, pools={}, members=torch.tensor([1, 3, 5, 7, 9, 11, 0, 2]))
    passes = [torch.cat([sampler.batch(2 * number), sampler.batch(2 * number + 1)]).tolist() for number in range(3)]
    assert all(sorted(order) == [0, 1, 2, 3, 5, 7, 9, 11] for order in passes)
    assert passes[0] != passes[1] != passes[2] and sampler.batch(0).tolist() == passes[0][:4]
