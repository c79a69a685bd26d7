"""Processes and micro-batches change nothing: the same global batch gives the same training, for every method."""

from contextlib import nullcontext

import pytest
import test_contract
import torch
from small import ENCODERS, SETTINGS, STEPPING, few_of_each_family, in_tokens, kind_of, samples_for, texts, towers
from torch import nn

from leaven.data import open_data
from leaven.data.spec import DataSpec
from leaven.encoders import build_encoder
from leaven.methods.registry import build_method, find_method, registry
from leaven.modalities import Tokens, Vector
from leaven.modules.batchnorm import CrossProcessBatchNorm, across_processes, has_batch_norm
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.distributed import gather, processes
from leaven.training.loop import Training
from leaven.training.plan import Plan
from leaven.training.request import Request

OWN = ["PointGAN", "RBMStack", "PairContrast", "DigitClusters", "PseudoLabels", "NextToken"]
STEPS, BATCH = 3, 32


def data_for(name):
    """Something small that the method can learn from, with labels where it needs them."""
    generator = torch.Generator().manual_seed(0)
    if name == "PointGAN":
        return open_data(torch.randn(96, 2, generator=generator))
    if name == "PairContrast":
        return open_data({"a": Vector(torch.randn(96, 5, generator=generator)), "b": Vector(torch.randn(96, 7, generator=generator))})
    if name == "NextToken":
        return open_data(
            {"x": Tokens(torch.randint(9, (96, 6), generator=generator), torch.arange(6) < torch.randint(3, 7, (96, 1), generator=generator))}
        )
    if name not in OWN and (kind_of(name) != "pixels" or find_method(name).whole_pictures):
        return in_tokens(open_data(samples_for(name, 96), unpaired=find_method(name).reads_unpaired))
    pictures = torch.randint(256, (96, 3, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.randint(3, (96,), generator=generator)
    if name == "DigitClusters":  # k-means is only stable where there are clusters
        pictures = (pictures // 8) + (labels * 100).to(torch.uint8)[:, None, None, None]
    partly = name == "PseudoLabels" or (name not in OWN and find_method(name).learns_unlabeled)
    return open_data((pictures, torch.where(torch.arange(96) < 40, labels, -1) if partly else labels))


def built(name, data):
    """A small float64 method with plain SGD, the same in every process."""
    kind = getattr(test_contract, name) if name in OWN else find_method(name)
    settings = {"recipe.optimizer": "sgd", "recipe.lr": 0.05, "recipe.clip": 1.0}
    settings |= {"clusters": 3} if name == "DigitClusters" else SETTINGS.get(name, {})
    torch.manual_seed(0)
    if kind.inherits:  # from a run, for which fresh encoders stand here
        encoders = {role: build_encoder(encoder, data.spec.roles[role], ENCODERS[encoder]) for role, encoder in towers(name).items()}
        method, recipe = build_method(kind, data.spec, encoders, settings)
    else:
        choices = build_training(Request(kind, settings=settings), data, "cpu").choices
        chosen = next((choice["value"] for choice in choices if choice["what"] == "encoder"), None)
        sizes = {f"encoder.{key}": value for key, value in ENCODERS.get(chosen, {}).items()}
        parts = build_training(Request(kind, settings={**settings, **sizes}), data, "cpu")
        method, recipe = parts.method, parts.recipe
    for module in method.modules():  # whose masks are each process's own
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return method.double(), recipe


def without_batch_norm(module):
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, nn.Identity())
        else:
            without_batch_norm(child)
    return module


def weights_after_training(name, folder, accumulate=1, norm=True):
    """All weights and buffers after a few steps, in this process or shared with the others of its group."""
    data = data_for(name)
    method, recipe = built(name, data)
    if not norm:
        without_batch_norm(method)
    if processes() > 1:
        across_processes(method)
    request = Request(accumulate=accumulate, keep_going=True)
    Training(method, recipe, data.rows, data.train(), Plan(STEPS, BATCH), Run(folder), request, nullcontext, watch=False).run()
    return {key: value.detach().clone() for key, value in method.state_dict().items()}


def assert_same(a, b, tolerance=1e-9):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.allclose(a[key].double(), b[key].double(), rtol=tolerance, atol=tolerance), f"{key}: {(a[key] - b[key]).abs().max()}"


@pytest.mark.parametrize("name", few_of_each_family([*registry(), *OWN]))
def test_two_processes_train_as_one(name, pair, tmp_path):
    torch.set_num_threads(1)
    alone = weights_after_training(name, tmp_path / "alone")
    first, second = pair.run(weights_after_training, name, tmp_path / "pair")
    assert_same(alone, first)
    assert_same(first, second, 0)


@pytest.mark.parametrize("name", [*STEPPING, *OWN])
def test_micro_batches_train_as_one_batch_where_no_batch_norm_couples_samples(name, tmp_path):
    whole = weights_after_training(name, tmp_path / "whole", norm=False)
    parts = weights_after_training(name, tmp_path / "parts", accumulate=4, norm=False)
    assert_same(whole, parts)
    data = data_for(name)
    before = without_batch_norm(built(name, data)[0]).state_dict()
    assert any(not torch.equal(before[key], whole[key]) for key in before), "nothing was trained, so nothing was compared"


def test_two_processes_with_micro_batches_train_as_one(pair, tmp_path):
    whole = weights_after_training("simclr", tmp_path / "whole", norm=False)
    first, _ = pair.run(weights_after_training, "simclr", tmp_path / "pair", 2, False)
    assert_same(whole, first)


def normalised(seed, processes_in_all):
    """Output and input gradient of batch norm on this process's share of a fixed batch, and its running statistics."""
    generator = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(12, 4, 3, generator=generator, dtype=torch.float64), torch.randn(12, 4, 3, generator=generator, dtype=torch.float64)
    rank = torch.distributed.get_rank() if processes() > 1 else 0
    share = slice(rank * 12 // processes_in_all, (rank + 1) * 12 // processes_in_all)
    model = nn.Sequential(nn.BatchNorm1d(4)).double()
    if processes() > 1:
        across_processes(model)
        assert isinstance(model[0], CrossProcessBatchNorm)
    mine = x[share].clone().requires_grad_()
    output = model(mine)
    gather(output * weight[share]).sum().backward()
    return output.detach(), mine.grad / processes(), model[0].running_mean.clone(), model[0].running_var.clone()


def test_cross_process_batch_norm_equals_one_big_batch(pair):
    output, gradient, mean, variance = normalised(0, 1)
    shares = pair.run(normalised, 0, 2)
    assert torch.allclose(torch.cat([shares[0][0], shares[1][0]]), output, atol=1e-12)
    assert torch.allclose(torch.cat([shares[0][1], shares[1][1]]), gradient, atol=1e-12)
    assert torch.allclose(shares[0][2], mean, atol=1e-12)
    assert torch.allclose(shares[0][3], variance, atol=1e-12)


def gathered_gradient(_):
    """d/dx of sum of w_ij x_i x_j over the gathered rows, for this process's row."""
    rank = torch.distributed.get_rank()
    x = torch.tensor([[1.0 + rank]], dtype=torch.float64, requires_grad=True)
    everyone = gather(x)
    (everyone @ everyone.T * torch.tensor([[0.0, 2.0], [1.0, 0.0]])).sum().backward()
    return x.grad / 2  # parameter gradients are averaged over the two processes


def test_gather_carries_the_gradient_of_every_process(pair):
    first, second = pair.run(gathered_gradient, None)
    assert first.item() == 3 * 2.0  # x_0 x_1 appears with weight 2 + 1
    assert second.item() == 3 * 1.0


def test_methods_with_batch_norm_say_that_accumulation_differs(tmp_path):
    import leaven

    said = []
    leaven.pretrain(torch.randn(64, 3), method="simclr", steps=1, batch=32, accumulate=2, out=tmp_path / "run", say=said.append)
    assert any("batch norm" in line for line in said)
    assert not has_batch_norm(nn.Linear(2, 2))


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    import leaven

    with pytest.raises(leaven.UserError, match="does not divide"):
        leaven.pretrain(torch.randn(64, 3), steps=1, batch=33, accumulate=2, out=tmp_path / "run")


def test_the_data_spec_survives_json():
    spec = data_for("simclr").spec
    assert DataSpec.from_dict(spec.to_dict()) == spec


def tokenizer_of(words, sentences):
    settings = {"tokenizer.kind": "wordpiece", "tokenizer.vocabulary": words}
    return build_training(Request("masked_lm", settings=settings), open_data(sentences), "cpu").tokenizers["x"].digest()


def test_two_processes_read_by_the_tokeniser_of_the_first(pair):
    """wordpiece is not trained alike twice."""
    sentences = texts("masked_lm", 96)["x"]
    first, second = pair.run(tokenizer_of, 300, sentences)
    assert first == second


def test_what_is_wrong_in_the_first_process_is_told_in_both(pair):
    with pytest.raises(RuntimeError, match=r"UserError: .*vocabulary"):
        pair.run(tokenizer_of, -1, texts("masked_lm", 96)["x"])
    assert pair.answers.get(timeout=60)[1].startswith("UserError: ")
