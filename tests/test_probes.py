"""Classifiers from a few labels against scikit-learn, and the choice between them."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid
from torch.nn import functional as F

from leaven.evaluation.protocols.knn import NearestNeighbours
from leaven.modules.probes import LINEAR, PROBES, choose_probe, ranks


def clouds(count=45, dim=6, classes=3, seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    return (torch.eye(dim)[labels] * 2 + spread * torch.randn(count, dim, generator=generator)).double(), labels


def fitted(name, x, y, weights=None, classes=3):
    weights = torch.ones(len(y)) if weights is None else weights
    return PROBES[name](x[None], F.one_hot(y, classes).to(x), weights[None].to(x))


@pytest.mark.parametrize("dim", [6, 60])
def test_ridge_is_that_of_scikit_learn_with_more_samples_than_features_and_with_fewer(dim):
    x, y = clouds(dim=dim)
    weights = (torch.arange(45) % 4).double()
    for weight in (torch.ones(45, dtype=torch.float64), weights):
        center = (weight[:, None] * x).sum(0) / weight.sum()
        length = ((x - center).square().sum(1) * weight).sum() / weight.sum()
        theirs = Ridge(alpha=length.item()).fit(x.numpy(), F.one_hot(y).numpy(), sample_weight=weight.numpy()).predict(x.numpy())
        assert torch.allclose(fitted("ridge", x, y, weight).scores(x)[0], torch.from_numpy(theirs), atol=1e-8)


def test_ridge_of_ten_draws_of_sixty_classes_is_solved_in_several_threads():
    x, y = clouds(count=300, dim=300, classes=60)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit = PROBES["ridge"](x.float().expand(10, -1, -1), F.one_hot(y, 60).float(), torch.ones(10, 300))
    finally:
        torch.set_num_threads(before)
    assert fit.weight.isfinite().all() and (fit.scores(x.float()).argmax(2) == y).all()


def test_logistic_regression_is_that_of_scikit_learn_at_c_1():
    x, y = clouds()
    weights = 1.0 + torch.arange(45) % 2
    theirs = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000).fit(x.numpy(), y.numpy(), sample_weight=weights.numpy())
    ours = fitted("logistic", x, y, weights).scores(x)[0].softmax(1)
    assert torch.allclose(ours, torch.from_numpy(theirs.predict_proba(x.numpy())), atol=1e-4)


def test_nearest_means_are_those_of_scikit_learn_and_an_absent_class_is_never_near():
    x, y = clouds(seed=1)
    other, _ = clouds(seed=2)
    ours = fitted("nearest class mean", x, y, classes=5).scores(other)[0].argmax(1)
    assert ours.tolist() == NearestCentroid().fit(x.numpy(), y.numpy()).predict(other.numpy()).tolist()


def test_nearest_neighbours_are_those_of_the_protocol():
    x, y = clouds(seed=1)
    other, _ = clouds(seed=2)
    assert torch.equal(fitted("nearest neighbours", x, y).scores(other)[0].argmax(1), NearestNeighbours().predict(x, y, other))


@pytest.mark.parametrize("name", PROBES)
def test_samples_of_weight_0_take_no_part(name):
    x, y = clouds(30)
    other, _ = clouds(12, seed=3)
    weights = (torch.arange(30) >= 6).float()
    anything = torch.cat([100 * x[:6].roll(1, 0), x[6:]])
    assert torch.allclose(fitted(name, x, y, weights).scores(other), fitted(name, anything, y, weights).scores(other), atol=1e-4)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_in_a_smaller_basis_is_the_same_probe(name):
    x, y = clouds(20, dim=40)
    basis, coordinates = torch.linalg.qr(x.mT)
    assert torch.allclose(fitted(name, coordinates.mT, y).spread(basis[None]).scores(x.float()), fitted(name, x, y).scores(x).float(), atol=1e-4)


def test_scores_of_left_out_samples_come_from_fits_without_them():
    x, y = clouds(15)
    choice = choose_probe(x[None].float(), y, classes=3)
    for fold in range(5):
        left = ranks(y) % 5 == fold
        for place, name in enumerate(PROBES):
            alone = fitted(name, x.float(), y, (~left).float()).scores(x[left].float())
            assert torch.allclose(choice.scores[place, 0, left], alone[0], atol=1e-3)
    assert choice.known.all()


def test_the_probe_that_suits_the_labels_is_chosen_and_the_first_where_none_is_plainly_better():
    x, y = clouds(60, spread=0.3)
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(2, (60, 2), generator=generator)
    crossed, parity = (2.0 * corners - 1 + 0.1 * torch.randn(60, 2, generator=generator)), corners.sum(1) % 2  # no line parts these
    assert choose_probe(x[None].float(), y, classes=3).probe.tolist() == [0]
    assert list(PROBES)[choose_probe(crossed[None], parity, classes=2).probe[0]] == "nearest neighbours"
    assert choose_probe(crossed[None], parity, classes=2, probes=LINEAR).probe.item() < len(LINEAR)


def test_the_first_probe_stays_where_every_fold_shares_its_groups_with_all_others():
    x, y = clouds()
    chosen = choose_probe(x[None].float(), y, classes=3, groups=(torch.arange(45) // 3 % 2)[None])
    assert chosen.probe.tolist() == [0] and not chosen.known.any() and chosen.scores.isfinite().all()


def test_nothing_is_chosen_from_one_label_per_class():
    x, y = clouds(3)
    assert choose_probe(x[None].float(), y, classes=3) is None


def test_samples_of_one_group_are_left_out_together():
    """Groups that look alike but have labels at random: neighbours of one's own group would name the class."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(20).repeat_interleave(4)
    y = torch.randint(2, (20,), generator=generator)[group]
    x = torch.randn(20, 8, generator=generator)[group] + 0.01 * torch.randn(80, 8, generator=generator)
    nearest = list(PROBES).index("nearest neighbours")
    right = [(choose_probe(x[None], y, classes=2, groups=groups).scores[nearest, 0].argmax(1) == y).float().mean() for groups in (None, group[None])]
    assert right[0] == 1 and right[1] < 0.8
