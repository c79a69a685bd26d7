"""DeepCluster and SwAV: assignments, queues, and clusters that are never empty."""

import pytest
import torch
from sklearn.cluster import KMeans
from small import labeled, small, step_views
from torch.nn import functional as F

import leaven
from leaven.methods.clustering.deepcluster import clustered
from leaven.methods.method import Outputs
from leaven.modalities import Vector
from leaven.training.trained import trained_method

# --- SwAV ---


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def crops(method, seed=0, batch=12):
    """Outputs with unit embeddings and their scores, two large crops and two small ones."""
    embeddings = [F.normalize(random(batch, 128, seed=seed + crop), dim=1).requires_grad_() for crop in range(4)]
    scores = [method.prototypes(embedding) / method.temperature for embedding in embeddings]
    return Outputs(features=embeddings, embeddings=embeddings, assignments=scores)


@pytest.mark.parametrize("queued", [False, True])
def test_swav_agrees_with_lightly(queued):
    lightly = pytest.importorskip("lightly.loss").SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)
    method = small("swav", prototypes=9, queue=24, queue_starts=0.5)[0].double()
    method.progress.fill_(0.6 if queued else 0.4)
    outputs = crops(method)
    scores = [0.1 * part for part in outputs.assignments]
    queue = [method.prototypes(each.embeddings) for each in method.queues] if queued else None
    ours, theirs = method.loss(outputs)["swapped"], lightly(scores[:2], scores[2:], queue)
    assert torch.allclose(ours, theirs.squeeze(), atol=1e-10)
    parts = [*outputs.embeddings, method.prototypes.weight]
    for found, wanted in zip(torch.autograd.grad(ours, parts, retain_graph=True), torch.autograd.grad(theirs, parts), strict=True):
        assert torch.allclose(found, wanted, atol=1e-10) and found.abs().max() > 1e-6


def test_swav_assignments_carry_no_gradient():
    method = small("swav", prototypes=9)[0].double()
    outputs = crops(method)
    assert not method.assign(outputs.assignments[0], 0).requires_grad


def test_swav_queue_is_used_only_later_and_takes_each_crop_after_the_loss():
    method = small("swav", prototypes=9, queue=24, queue_starts=0.5)[0].double()
    outputs = crops(method)
    before = [queue.embeddings.clone() for queue in method.queues]
    early = method.loss(outputs)["swapped"].item()
    assert all(torch.equal(queue.embeddings, old) for queue, old in zip(method.queues, before, strict=True))
    method.after_step(outputs, 0.5)
    for queue, old, embedding in zip(method.queues, before, outputs.embeddings, strict=False):
        assert torch.allclose(queue.embeddings[:12], embedding.detach()) and torch.equal(queue.embeddings[12:], old[12:])
    assert method.loss(outputs)["swapped"].item() != pytest.approx(early, abs=1e-6)


def test_swav_without_a_queue_has_none():
    method, _ = small("swav", queue=0)
    assert not any("queue" in name for name in method.state_dict())
    assert method.loss(method(step_views(method)))["swapped"].isfinite()


def test_swav_prototypes_get_no_gradient_at_all_at_first():
    method, _ = small("swav", frozen=0.1)
    for progress in (0.0, 0.1):
        method.zero_grad()
        method.progress.fill_(progress)
        method.loss(method(step_views(method)))["swapped"].backward()
        assert (method.prototypes.weight.grad is None) == (progress < 0.1)
        assert method.projector[0].weight.grad is not None


def test_swav_without_sinkhorn_takes_plain_softmax_targets():
    method = small("swav", prototypes=9, sinkhorn=False)[0].double()
    scores = random(5, 9).tanh()
    assert torch.allclose(method.assign(scores, 0), (scores / 0.05).softmax(1))


# --- DeepCluster ---


def blobs(centers, each, spread=0.05, dim=6):
    """Well separated groups of points, and which group each is from."""
    places = F.normalize(random(centers, dim, seed=3), dim=1).float()
    groups = torch.arange(centers).repeat(each)
    return places[groups] + spread * random(centers * each, dim).float(), groups


def test_clusters_of_separate_groups_are_the_groups():
    torch.manual_seed(0)
    points, groups = blobs(5, 30)
    found = clustered(points, 5, components=4)
    assert len(set(zip(found.tolist(), groups.tolist(), strict=True))) == 5


def test_clustering_is_the_same_for_the_same_seed():
    points, _ = blobs(5, 30, spread=0.5)
    first, second = (clustered(points, 7, components=4) for _ in range(2) if torch.manual_seed(1))
    assert torch.equal(first, second)


def test_an_empty_cluster_takes_a_sample():
    points = torch.cat([random(40, 2) * 0.1, torch.tensor([[5.0, 0.0]])]).numpy()
    start = torch.tensor([[0.0, 0.0], [1000.0, 0.0], [0.0, 1000.0]]).numpy()  # no sample is nearest to the last two
    found = KMeans(3, init=start, n_init=1).fit(points)
    assert len(set(found.labels_.tolist())) == 3
    torch.manual_seed(0)
    assert len(clustered(torch.cat([torch.randn(30, 4), torch.ones(30, 4)]), 20, components=3).unique()) == 20


def assigned(**settings):
    """A method that has assigned features that it is given in place of those of its encoder."""
    method, _ = small("deepcluster", **settings)
    features = torch.cat([torch.randn(24, 24) * 0.01 + torch.eye(24)[0], torch.randn(8, 24) * 0.01 - torch.eye(24)[0]])
    return method, lambda: method.assign(lambda function: features)


def test_all_clusters_weigh_the_same_whatever_their_size():
    method, assign = assigned(clusters=2, components=1)
    assign()
    sizes = method.targets.bincount(minlength=2)
    assert sorted(sizes.tolist()) == [8, 24]
    assert torch.allclose(method.weights * sizes, torch.full((2,), 16.0))
    each = method.loss(Outputs(logits=[torch.zeros(32, 2)], target=method.targets))
    assert each["clusters"].item() == pytest.approx(method.chance(None))
    wrong = F.one_hot(method.targets, 2) * torch.tensor([0.0, 9.0])  # sure of one cluster, undecided of the other
    by_cluster = [F.cross_entropy(wrong[method.targets == cluster], method.targets[method.targets == cluster]) for cluster in (0, 1)]
    assert method.loss(Outputs(logits=[wrong], target=method.targets))["clusters"].item() == pytest.approx(sum(by_cluster).item() / 2, rel=1e-5)


def test_the_classifier_begins_anew_with_every_assignment():
    method, assign = assigned(clusters=2, components=1)
    before = method.classifier.weight.clone()
    assign()
    assert not torch.equal(before, method.classifier.weight)
    assert [stage.share for stage in method.stages()] == [pytest.approx(1 / method.assignments)] * method.assignments


def test_targets_follow_the_samples_of_a_batch():
    method, _ = small("deepcluster")
    method.targets.copy_(torch.arange(32) % 5)
    batch = labeled().rows.select(torch.tensor([7, 30, 2]))
    from leaven.draw import Draw

    assert method.views(batch, Draw(0))["target"].tolist() == [2, 0, 2]


def test_deepcluster_finds_groups_in_plain_numbers(tmp_path):
    points, groups = blobs(4, 64)
    settings = {"clusters": 4, "assignments": 2, "components": 3}
    run = leaven.pretrain(Vector(points), method="deepcluster", steps=40, batch=64, out=tmp_path / "run", settings=settings)
    found = trained_method(run).targets
    assert len(set(zip(found.tolist(), groups.tolist(), strict=True))) == 4
    assert {row["stage"] for row in run.metrics} == {"assignment1", "assignment2"}


@pytest.mark.parametrize("settings", [{"clusters": 1}, {"clusters": 33}, {"assignments": 0}, {"components": 0}])
def test_impossible_clusters_are_refused(settings):
    with pytest.raises(leaven.UserError):
        small("deepcluster", **settings)
