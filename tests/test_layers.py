"""The protocol that weighs the layers of an encoder."""

import pytest
import torch
import torch.nn.functional as F

import leaven
from leaven.errors import UserError
from leaven.evaluation.layers import fitted_weights, standardised, weighted_probe


def layered(informative, layers=3, n=240):
    """Noise in every layer, and two classes in one of them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 2
    features = torch.randn(n, layers, 8, generator=generator)
    features[:, informative, :3] += 1.5 * labels[:, None]
    return features, labels


@pytest.mark.parametrize("informative", [0, 2])
def test_the_layer_that_knows_the_classes_weighs_most(informative):
    features, labels = layered(informative)
    train, test = standardised(features[:160], features[160:])
    probe = weighted_probe(train, labels[:160], classes=2)
    assert probe.weights.argmax() == informative and probe.weights[informative] > 0.6 and probe.weights.sum().item() == pytest.approx(1)
    assert (probe.logits(test).argmax(1) == labels[160:]).float().mean() > 0.8


def test_no_other_weights_have_a_smaller_loss():
    features, labels = layered(1)
    found = fitted_weights(features, labels, classes=2, l2=0.01, start=None, tolerance=1e-6)

    def loss(numbers, weight, bias):
        logits = torch.einsum("l,nld->nd", numbers.softmax(0), features) @ weight + bias
        return F.cross_entropy(logits, labels) + 0.005 * weight.square().sum()

    parameters = [torch.zeros(3, requires_grad=True), torch.zeros(8, 2, requires_grad=True), torch.zeros(1, 2, requires_grad=True)]
    optimizer = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss(*parameters).backward()
        return loss(*parameters)

    optimizer.step(closure)
    ours = loss(found.weights.log(), found.fit.weight, found.fit.bias)
    assert ours.item() == pytest.approx(loss(*parameters).item(), abs=2e-4)
    assert torch.allclose(found.weights, parameters[0].softmax(0), atol=0.03)


def test_layers_are_scored_beside_floors_and_drawn(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2
    pitch = torch.tensor([6.0, 12.0])[labels][:, None, None]
    phase, noise = torch.rand(120, 2, 1, generator=generator), torch.randn(120, 2, 64, generator=generator)
    x = torch.sin(2 * torch.pi * (pitch * torch.arange(64) / 64 + phase)) + noise
    data = {"x": x.numpy(), "rate": 64, "label": labels.numpy()}
    settings = {"encoder.width": 16, "encoder.depth": 2, "encoder.heads": 2}
    run = leaven.pretrain(data, method="masked_prediction", encoder="frames", settings=settings, steps=2, batch=20, out=tmp_path / "run")
    card = leaven.evaluate(run, data, protocols=("layers", "linear"))
    score = card.scores["layers"]
    assert len(score["weights"]) == 2 and sum(score["weights"]) == pytest.approx(1) and "auc" in score
    assert {"untrained", "input", "majority"} == score["gains"].keys() == card.floors.keys() - {"band-power"}  # of the linear probe
    assert "weights" not in card.floors["input"]["layers"] and len(card.floors["untrained"]["layers"]["weights"]) == 2
    (chart,) = card.figures()
    assert set(chart.lines) == {"pre-trained", "untrained encoder"} and "Of 2 layers, layer" in card.sentence()
    assert "Which layers the labels need" in (run.path / "report.html").read_text()


def test_an_encoder_without_layers_is_refused(tmp_path):
    data = (torch.randn(60, 4).numpy(), (torch.arange(60) % 2).numpy())
    run = leaven.pretrain(data, encoder="mlp", method="autoencoder", steps=1, batch=20, out=tmp_path / "run")
    with pytest.raises(UserError, match="does not offer the outputs of its layers"):
        leaven.evaluate(run, data, protocols=("layers",))
