"""The contrastive family: losses by hand and by enumeration, queues and banks, what batch norm may see, context that never looks ahead."""

import math
from collections import deque

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import leaven
from leaven.data import open_data
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.losses import info_nce, nt_xent
from leaven.methods.contrastive.mocov1 import in_groups
from leaven.methods.contrastive.n_pair import n_pair
from leaven.methods.contrastive.npid import nce
from leaven.methods.contrastive.supcon import sup_con
from leaven.methods.contrastive.triplet import triplet
from leaven.methods.method import Outputs
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec, Mask, Pixels, Vector
from leaven.modules.context import Forecast
from leaven.modules.memory import Bank, Queue
from leaven.modules.patches import overlapping_patches
from leaven.training.build import build_training
from leaven.training.request import Request
from leaven.training.trained import trained_method
from leaven.views.color import rgb_to_lab

SPEC = InputSpec("pixels", (3, 16, 16), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
SMALL = {"width": 8, "features": 24}


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return F.normalize(rows(*shape, seed=seed), dim=1)


def pictures(count=64):
    return torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def data(labels=True):
    return open_data((pictures(), torch.arange(64) % 3)) if labels else open_data(pictures())


def small(name, encoder="convnet", arguments=None, **settings):
    torch.manual_seed(0)
    made = build_encoder(encoder, SPEC, SMALL if arguments is None else arguments)
    return build_method(find_method(name), data().spec, {"x": made}, settings)[0]


def views_of(method):
    return method.views(data().rows, Draw(0, "views"))


BAD = [(name, {"temperature": 0}) for name in ("npid", "mocov1", "mocov2", "mocov3", "nnclr", "cpc", "cmc", "supcon")]
BAD += [(name, {"momentum": -0.1}) for name in ("npid", "mocov1", "mocov2", "mocov3")] + [(name, {"queue": 0}) for name in ("mocov1", "nnclr")]
BAD += [("mocov2", {"norm_groups": 0}), ("npid", {"noise": -1}), ("npid", {"proximal": -1}), ("cpc", {"flip": 1.5}), ("cpc", {"grey": -1})]
BAD += [("triplet", {"margin": 0}), ("triplet", {"margin": 4}), ("triplet", {"negatives": "soft"}), ("n_pair", {"regularization": -1})]


@pytest.mark.parametrize(("name", "settings"), BAD)
def test_a_setting_that_makes_no_sense_is_one_clear_line(name, settings):
    with pytest.raises(leaven.UserError, match=next(iter(settings))) as caught:
        small(name, "lab" if name == "cmc" else "convnet", **settings)
    assert "\n" not in str(caught.value)


# --- InfoNCE ---


def test_info_nce_of_two_samples_by_hand():
    q, k, t = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[5.0, 0.0], [0.6, 0.8]]), 0.5
    first = math.log(math.exp(1.0 / t) + math.exp(0.6 / t)) - 1.0 / t
    second = math.log(math.exp(0.0 / t) + math.exp(0.8 / t)) - 0.8 / t
    assert info_nce(q, k, t).item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_info_nce_with_negatives_by_hand():
    q, k, n, t = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([[0.0, 2.0], [-1.0, 0.0]]), 0.5
    expected = math.log(math.exp(0.6 / t) + math.exp(0.0) + math.exp(-1 / t)) - 0.6 / t
    assert info_nce(q, k, t, n).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_identical_embeddings_give_the_log_of_the_number_of_candidates(batch):
    same = torch.ones(batch, 8)
    assert info_nce(same, same, 0.1).item() == pytest.approx(math.log(batch), abs=1e-5)
    assert info_nce(same, same, 0.1, torch.ones(7, 8)).item() == pytest.approx(math.log(8), abs=1e-5)
    assert n_pair(same, same).item() == pytest.approx(math.log(batch), abs=1e-5)
    assert sup_con(same, same, torch.full((batch,), -1), 0.1).item() == pytest.approx(math.log(2 * batch - 1), abs=1e-5)
    for negatives in ("semi-hard", "hard", "all"):
        assert triplet(same, same, 0.2, negatives).item() == pytest.approx(0.2, abs=1e-5)


def test_a_batch_of_one_is_an_error():
    one = torch.ones(1, 4)
    for loss in (
        lambda: info_nce(one, one, 0.1),
        lambda: n_pair(one, one),
        lambda: triplet(one, one, 0.2, "all"),
        lambda: sup_con(one, one, torch.zeros(1), 0.1),
    ):
        with pytest.raises(ValueError, match="no negatives"):
            loss()


def test_info_nce_with_negatives_has_the_value_and_gradient_of_lightly():
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(20, 8))
    bank = theirs.memory_bank.bank.clone()
    q, k = rows(6, 8).requires_grad_(), rows(6, 8, seed=1).requires_grad_()
    expected, found = theirs(q, k), info_nce(q, k, 0.2, bank)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    for ours, other in zip(torch.autograd.grad(found, (q, k)), torch.autograd.grad(expected, (q, k)), strict=True):
        assert torch.allclose(ours, other, atol=1e-6)


def test_nt_xent_has_the_value_and_gradient_of_lightly():
    lightly = pytest.importorskip("lightly.loss")
    a, b = rows(6, 8).requires_grad_(), rows(6, 8, seed=1).requires_grad_()
    expected, found = lightly.NTXentLoss(temperature=0.2)(a, b), nt_xent(a, b, 0.2)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    for ours, other in zip(torch.autograd.grad(found, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        assert torch.allclose(ours, other, atol=1e-6)


# --- the queue and the bank ---


@pytest.mark.parametrize("seed", range(30))
def test_a_queue_of_any_length_holds_the_newest_embeddings(seed):
    chosen = torch.Generator().manual_seed(seed)
    length = int(torch.randint(1, 20, (), generator=chosen))
    queue, expected, total = Queue(length, 3), deque(maxlen=length), 0
    for step in range(12):
        batch = int(torch.randint(1, 30, (), generator=chosen))
        new = unit(batch, 3, seed=1000 * seed + step)
        queue.enqueue(new)
        expected.extend(new)
        total += batch
        assert len(queue.entered) == min(total, length)
        oldest = total % length if total > length else 0
        in_order = queue.entered.roll(-oldest, 0)
        assert torch.allclose(in_order, torch.stack(list(expected)), atol=1e-6)


def test_a_queue_survives_a_checkpoint_and_starts_with_directions():
    queue, again = Queue(7, 4), Queue(7, 4)
    assert len(queue.entered) == 0 and torch.allclose(queue.embeddings.norm(dim=1), torch.ones(7))
    queue.enqueue(rows(5, 4))
    again.load_state_dict(queue.state_dict())
    for each in (queue, again):
        each.enqueue(rows(4, 4, seed=1))
    assert torch.equal(queue.embeddings, again.embeddings) and len(again.entered) == 7


def test_the_nearest_member_is_found_by_cosine():
    queue = Queue(3, 2)
    queue.enqueue(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    found = queue.nearest(torch.tensor([[9.0, 1.0], [0.1, 0.2], [-3.0, 1.0]], requires_grad=True))
    assert found.tolist() == [[1, 0], [0, 1], [-1, 0]] and not found.requires_grad


def test_the_nearest_member_is_that_of_lightly():
    modules = pytest.importorskip("lightly.models.modules")
    theirs, queue, asked = modules.NNMemoryBankModule(size=(50, 8)), Queue(50, 8), rows(9, 8)
    queue.enqueue(theirs.bank)
    assert torch.allclose(queue.nearest(asked), theirs(asked), atol=1e-6)


def test_a_bank_moves_the_entries_of_seen_samples_alone():
    bank = Bank(5, 4)
    before, seen = bank.embeddings.clone(), torch.tensor([3, 1])
    new = rows(2, 4)
    bank.update(seen, new, 0.5)
    expected = F.normalize(0.5 * before[seen] + 0.5 * F.normalize(new, dim=1), dim=1)
    assert torch.allclose(bank.embeddings[seen], expected, atol=1e-6)
    assert torch.equal(bank.embeddings[[0, 2, 4]], before[[0, 2, 4]])


# --- NPID ---


def npid_outputs(method, noise=None):
    index = torch.tensor([4, 0, 2])
    return Outputs(embeddings=[rows(3, 128, seed=5)], index=index, noise=torch.zeros(3, 0).long() if noise is None else noise)


def test_npid_full_softmax_is_the_cross_entropy_over_all_samples():
    method = small("npid", noise=0)
    outputs = npid_outputs(method)
    z, bank = F.normalize(outputs.embeddings[0], dim=1), method.bank.embeddings
    each = [-math.log(math.exp(float(z[i] @ bank[j]) / 0.07) / sum(math.exp(float(z[i] @ v) / 0.07) for v in bank)) for i, j in enumerate([4, 0, 2])]
    assert method.loss(outputs)["softmax"].item() == pytest.approx(sum(each) / 3, rel=1e-4)


def test_nce_is_the_formula_of_the_paper():
    own, noise, z, samples = rows(3), rows(3, 5, seed=1), torch.tensor(7.0), 64
    share = 5 / samples

    def posterior(logit):
        likelihood = math.exp(logit) / 7.0
        return likelihood / (likelihood + share)

    expected = 0.0
    for i in range(3):
        expected += -math.log(posterior(float(own[i]))) - sum(math.log(1 - posterior(float(noise[i, j]))) for j in range(5))
    assert nce(own, noise, z, samples).item() == pytest.approx(expected / 3, rel=1e-5)


def test_npid_losses_of_a_model_that_knows_nothing():
    uniform = nce(torch.zeros(4), torch.zeros(4, 12), torch.tensor(64.0), 64)  # P = exp(0) / 64 = 1 / n, so h = 1 / (1 + m)
    assert uniform.item() == pytest.approx(math.log(13) + 12 * math.log(13 / 12), rel=1e-5)
    method = small("npid", noise=0, proximal=0.0)
    method.bank.embeddings.copy_(F.normalize(torch.ones(64, 128), dim=1))
    outputs = npid_outputs(method)
    assert method.loss(outputs)["softmax"].item() == pytest.approx(math.log(64), rel=1e-5)


def test_npid_estimates_the_normaliser_once_from_the_first_batch():
    method = small("npid", noise=12)
    noise = torch.randint(64, (3, 4), generator=torch.Generator().manual_seed(1))
    outputs = npid_outputs(method, noise)
    z = F.normalize(outputs.embeddings[0], dim=1)
    expected = 64 * torch.exp(z @ method.bank.embeddings[noise.flatten()].T / 0.07).mean().item()
    loss = method.loss(outputs)["nce"]
    assert method.normalizer == 0
    method.after_step(outputs, 0.0)
    assert method.normalizer.item() == pytest.approx(expected, rel=1e-5)
    method.after_step(npid_outputs(method, noise.flip(0) + 1 - 1), 0.5)
    assert method.normalizer.item() == pytest.approx(expected, rel=1e-5)
    own = (z * small("npid", noise=12).bank.embeddings[outputs.index]).sum(1) / 0.07
    others = z @ small("npid", noise=12).bank.embeddings[noise.flatten()].T / 0.07
    assert loss.item() == pytest.approx(nce(own, others, torch.tensor(expected), 64).item(), rel=1e-5)


def test_npid_noise_is_the_same_for_a_batch_and_for_its_parts():
    method = small("npid", noise=100)
    whole = method.views(data().rows, Draw(0))["noise"]
    parts = [method.views(data().rows.select(torch.arange(32) + 32 * part), Draw(0, part=part, parts=2))["noise"] for part in (0, 1)]
    assert torch.equal(whole, torch.cat(parts))
    assert whole.numel() == 128 and whole.max() < 64  # 100 do not divide among 64 samples, so each brings 2


def test_npid_proximal_term_is_the_squared_distance_to_the_entry():
    method = small("npid", noise=0, proximal=3.0)
    outputs = npid_outputs(method)
    entry = method.bank.embeddings[outputs.index]
    at_entry = Outputs(embeddings=[entry * 5], index=outputs.index, noise=outputs.noise)
    opposed = Outputs(embeddings=[-entry], index=outputs.index, noise=outputs.noise)
    assert method.loss(at_entry)["proximal"].item() == pytest.approx(0, abs=1e-5)
    assert method.loss(opposed)["proximal"].item() == pytest.approx(3 * 4, rel=1e-5)
    assert "proximal" not in small("npid", noise=0, proximal=0.0).loss(outputs)


# --- MoCo ---


@pytest.mark.parametrize("name", ["mocov1", "mocov2"])
def test_keys_enter_the_queue_after_the_logits(name):
    method = small(name, temperature=0.05)
    method.queue.enqueue(unit(32, 128, seed=3))
    key = unit(8, 128, seed=4)
    outputs = Outputs(embeddings=[key, key])
    before = method.queue.embeddings.clone()
    loss = method.loss(outputs)["info_nce"].item()
    assert loss < 0.01 and torch.equal(method.queue.embeddings, before)
    method.after_step(outputs, 0.0)
    assert torch.allclose(method.queue.entered[:8], key, atol=1e-6)  # 32 places, all filled: the newest 8 stand at the front again
    assert method.loss(outputs)["info_nce"].item() > math.log(2) - 1e-4  # the positive would be its own negative


def test_the_first_step_contrasts_within_the_batch_and_the_next_with_the_queue():
    method = small("mocov1")
    outputs = Outputs(embeddings=[rows(8, 128), rows(8, 128, seed=1)])
    assert method.loss(outputs)["info_nce"].item() == pytest.approx(info_nce(*outputs.embeddings, 0.07).item())
    assert method.chance(outputs) == pytest.approx(math.log(8))
    method.after_step(outputs, 0.0)
    assert method.loss(outputs)["info_nce"].item() == pytest.approx(info_nce(*outputs.embeddings, 0.07, outputs.embeddings[1]).item(), abs=1e-5)
    assert method.chance(outputs) == pytest.approx(math.log(9))


def test_the_queue_is_no_longer_than_half_of_the_data():
    assert len(small("mocov2").queue.embeddings) == 32 and len(small("mocov2", queue=7).queue.embeddings) == 7


def test_the_key_encoder_moves_by_its_momentum_and_gets_no_gradient():
    method = small("mocov2", momentum=0.9)
    outputs = method(views_of(method))
    sum(method.loss(outputs).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert not outputs.embeddings[1].requires_grad
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    students = [*method.encoder.parameters(), *method.projector.parameters()]
    with torch.no_grad():
        for parameter in students:
            parameter.add_(1.0)
    method.after_step(outputs, 0.7)
    assert all(torch.allclose(new, old + 0.1, atol=1e-5) for old, new in zip(before, method.teacher.parameters(), strict=True))


def test_groups_of_queries_and_of_keys_share_as_few_rows_as_they_can():
    seen = []

    def network(part):
        seen.append(set(part.tolist()))
        return part

    numbers = torch.arange(32)
    assert torch.equal(in_groups(network, numbers, 4), numbers) and torch.equal(in_groups(network, numbers, 4, across=True), numbers)
    queries, keys = seen[:4], seen[4:]
    assert all(len(query & key) == 2 for query in queries for key in keys)
    assert set.union(*queries) == set.union(*keys) == set(range(32))


@pytest.mark.parametrize("groups", [1, 3, 4, 5])
@pytest.mark.parametrize("across", [False, True])
def test_a_batch_of_any_size_keeps_its_order_in_groups_and_none_has_a_single_row(groups, across):
    for batch in range(1, 40):
        sizes = []

        def network(part, sizes=sizes):
            sizes.append(len(part))
            return part * 2

        assert torch.equal(in_groups(network, torch.arange(batch), groups, across), torch.arange(batch) * 2)
        assert batch == 1 or min(sizes) > 1


def test_query_and_key_of_the_same_picture_are_normalised_by_different_samples():
    same = [Pixels(pictures())] * 2
    together, apart = small("mocov1", norm_groups=1)(same).embeddings, small("mocov1", norm_groups=4)(same).embeddings
    assert torch.allclose(*together, atol=1e-5)
    assert (apart[0] - apart[1]).abs().amax(1).min() > 1e-3


def test_encoders_without_batch_norm_are_not_split():
    assert small("mocov1", "vit", {"width": 24, "depth": 1, "heads": 2}).norm_groups == 1


def test_moco_v2_has_an_mlp_head_without_batch_norm_and_blurs_pictures_that_are_large_enough():
    first, second = small("mocov1"), small("mocov2")
    assert sum(isinstance(layer, nn.Linear) for layer in first.projector) == 1
    assert [type(layer) for layer in second.projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert second.augment.blur == (0.0,)
    large = InputSpec("pixels", (3, 64, 64))
    method, _ = build_method(find_method("mocov2"), data().spec, {"x": build_encoder("convnet", large, SMALL)})
    assert method.augment.blur == (0.5,)
    assert method.config["views"]["blur"] == [0.5]


def test_moco_v3_is_symmetric_and_scaled_by_twice_the_temperature():
    method = small("mocov3", temperature=0.3)
    q1, q2, k1, k2 = (rows(6, 8, seed=seed) for seed in range(4))

    def contrast(q, k):
        logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / 0.3
        return 2 * 0.3 * sum(-logits[i].log_softmax(0)[i].item() for i in range(6)) / 6

    outputs = Outputs(embeddings=[q1, q2], targets=[k1, k2])
    assert method.loss(outputs)["info_nce"].item() == pytest.approx(contrast(q1, k2) + contrast(q2, k1), rel=1e-5)
    same = Outputs(embeddings=[torch.ones(6, 8)] * 2, targets=[torch.ones(6, 8)] * 2)
    assert method.loss(same)["info_nce"].item() == pytest.approx(method.chance(same), rel=1e-5)


@pytest.mark.parametrize(("frozen", "moves"), [(True, False), (False, True)])
def test_moco_v3_freezes_the_projection_of_patches(frozen, moves):
    method = small("mocov3", "vit", {"width": 24, "depth": 1, "heads": 2}, frozen_patches=frozen)
    sum(method.loss(method(views_of(method))).values()).backward()
    moving = {name for name, parameter in method.encoder.named_parameters() if parameter.grad is not None}
    assert ("embed.weight" in moving) == ("embed.bias" in moving) == moves
    assert any(name.startswith("layers") for name in moving)
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


# --- NNCLR ---


def test_nnclr_contrasts_neighbours_of_one_view_with_predictions_of_the_other():
    method = small("nnclr", temperature=0.2)
    method.queue.enqueue(rows(64, 128, seed=9))
    outputs = method(views_of(method))
    z1, z2 = (F.normalize(z, dim=1) for z in outputs.embeddings)
    p1, p2 = (F.normalize(p, dim=1) for p in outputs.predictions)

    def half(z, p):
        near = torch.stack([max(method.queue.embeddings, key=lambda entry: float(entry @ each)) for each in z])
        return F.cross_entropy(near @ p.T / 0.2, torch.arange(len(z))).item()

    with torch.no_grad():
        expected = (half(z1, p2) + half(z2, p1)) / 2
    assert method.loss(outputs)["info_nce"].item() == pytest.approx(expected, rel=1e-4)


def test_nnclr_neighbours_carry_no_gradient_and_views_enter_the_queue_after_the_step():
    method = small("nnclr")
    before = method.queue.embeddings.clone()
    outputs = method(views_of(method))
    assert not any(neighbour.requires_grad for neighbour in outputs.neighbours)
    sum(method.loss(outputs).values()).backward()
    assert torch.equal(method.queue.embeddings, before)
    method.after_step(outputs, 0.0)
    assert torch.allclose(method.queue.entered, F.normalize(outputs.embeddings[0], dim=1), atol=1e-5)


def test_nnclr_leaves_out_the_negatives_of_the_same_side_that_lightly_adds():
    lightly = pytest.importorskip("lightly.loss")
    n, p = rows(6, 8), rows(6, 8, seed=1)
    logits = F.normalize(n, dim=1) @ F.normalize(p, dim=1).T / 0.1
    paper = sum(-logits[i].log_softmax(0)[i].item() for i in range(6)) / 6  # eq. 3: the sum runs over predictions alone
    assert info_nce(n, p, 0.1).item() == pytest.approx(paper, rel=1e-5)
    assert lightly.NTXentLoss(temperature=0.1)(n, p).item() > paper + 0.01


# --- CPC ---


def test_patches_overlap_by_half_and_lie_in_order():
    picture = torch.arange(2 * 32 * 32.0).view(1, 2, 32, 32)
    patches = overlapping_patches(picture, 8, 4)
    assert patches.shape == (1, 7, 7, 2, 8, 8)
    assert torch.equal(patches[0, 3, 5], picture[0, :, 12:20, 20:28])
    assert torch.equal(patches[0, 3, 5, :, 4:], patches[0, 4, 5, :, :4])


@pytest.mark.parametrize("row", range(5))
def test_changing_later_rows_leaves_the_context_exactly_unchanged(row):
    torch.manual_seed(0)
    forecast = Forecast(12, (1, 2), width=16, depth=3, dim=8)
    latents = rows(2, 5, 4, 12)
    changed = latents.clone()
    changed[:, row + 1 :] = rows(2, 4 - row, 4, 12, seed=1)
    before, after = forecast.context(latents), forecast.context(changed)
    assert torch.equal(before[:, : row + 1], after[:, : row + 1])
    assert row == 4 or not torch.allclose(before[:, row + 1 :], after[:, row + 1 :])


def test_a_forecast_sees_as_far_back_as_it_is_deep_and_serves_sequences():
    torch.manual_seed(0)
    forecast = Forecast(12, (1, 3), width=16, depth=2, dim=8)
    sound = rows(1, 9, 1, 12).requires_grad_()
    (seen,) = torch.autograd.grad(forecast.context(sound)[0, 6].sum(), sound)
    assert [step for step in range(9) if seen[0, step].abs().sum() > 0] == [4, 5, 6]
    predictions, targets = forecast(sound)
    assert [tuple(each.shape) for each in predictions] == [(1, 8, 1, 8), (1, 6, 1, 8)] == [tuple(each.shape) for each in targets]
    assert torch.allclose(targets[1][0, 0], forecast.target(sound)[0, 3])


def test_cpc_tells_each_patch_from_all_others_of_the_batch():
    method = small("cpc")
    outputs = method(views_of(method))
    assert method.forecast.ahead == (2,)  # 8 pixel patches of 16 pixel pictures: 3 rows
    (prediction,), (target,) = outputs.predictions, outputs.targets
    assert prediction.shape == target.shape == (64, 1, 3, 128)
    p, t = F.normalize(prediction.reshape(-1, 128), dim=1), F.normalize(target.reshape(-1, 128), dim=1)
    expected = sum(-(p[i] @ t.T / 0.1).log_softmax(0)[i].item() for i in range(192)) / 192
    assert method.loss(outputs)["2_ahead"].item() == pytest.approx(expected, rel=1e-4)
    assert method.chance(outputs) == pytest.approx(math.log(192))


def test_cpc_patches_are_mirrored_and_turned_grey_one_by_one():
    changed = {"views.crop_min": 1, "views.flip": 0}
    plain = overlapping_patches(pictures().float() / 255, 8, 4)
    mirrored = views_of(small("cpc", flip=1, **changed))
    assert torch.allclose(mirrored, plain.flip(-1), atol=1e-6)
    grey = views_of(small("cpc", flip=0, grey=1, **changed))
    assert torch.equal(grey[:, :, :, 0], grey[:, :, :, 1]) and torch.equal(grey[:, :, :, 0], grey[:, :, :, 2])
    from_channel = [(grey[:, :, :, 0] - plain[:, :, :, channel]).abs().amax((-1, -2)) < 1e-6 for channel in range(3)]
    assert torch.stack(from_channel).any(0).all() and all(0.1 < each.float().mean() < 0.6 for each in from_channel)
    some = views_of(small("cpc", **changed))
    unchanged = (some - plain).abs().amax((-1, -2, -3)) < 1e-6
    assert 0.3 < unchanged.float().mean() < 0.7


def test_cpc_refuses_pictures_with_too_few_rows():
    with pytest.raises(leaven.UserError, match="too few to predict"):
        small("cpc", patch=16)


# --- CMC ---


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.5, 0.5, 0.5), (53.389, 0, 0)),
        ((1, 0, 0), (53.241, 80.092, 67.203)),
        ((0, 1, 0), (87.735, -86.183, 83.179)),
        ((0, 0, 1), (32.297, 79.188, -107.860)),
        ((0.02, 0.01, 0.0), (1.0, 0.6, 1.3)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    found = rgb_to_lab(torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)).flatten()
    assert torch.allclose(found, torch.tensor(lab, dtype=torch.float64), atol=0.02 if max(rgb) > 0.1 else 0.5)


def test_the_lab_encoder_reads_lightness_and_colours_apart():
    encoder = build_encoder("lab", SPEC, {"width": 8, "features": 16}).eval()
    lightness, colors = encoder.channel_groups(pictures(8))
    assert torch.equal(encoder(pictures(8)), torch.cat([lightness, colors], dim=1)) and encoder.dim == 32
    grey = pictures(8)[:, :1].expand(-1, 3, -1, -1)
    other_grey = (grey // 2).contiguous()
    assert torch.allclose(encoder.channel_groups(grey)[1], encoder.channel_groups(other_grey)[1], atol=1e-3)
    assert not torch.allclose(encoder.channel_groups(grey)[0], encoder.channel_groups(other_grey)[0], atol=1e-3)
    assert torch.allclose(encoder(pictures(8)), encoder(pictures(8).float() / 255), atol=1e-4)
    names = [name for block in encoder.depths() for name in block]
    assert sorted(names) == sorted(name for name, _ in encoder.named_parameters())


def three_senses(count=512):
    hidden = rows(count, 6)
    maps = {"touch": rows(6, 12, seed=1), "smell": rows(6, 20, seed=2), "taste": rows(6, 9, seed=3)}
    return {name: Vector((hidden @ mix).tanh()) for name, mix in maps.items()}


def test_cmc_contrasts_every_pair_of_senses_in_both_directions():
    method = build_training(Request("cmc", settings={"temperature": 0.2}), open_data(three_senses()), "cpu").method
    a, b, c = embeddings = [rows(6, 8, seed=seed) for seed in range(3)]
    expected = sum(info_nce(x, y, 0.2).item() for x, y in [(a, b), (b, a), (a, c), (c, a), (b, c), (c, b)])
    outputs = Outputs(embeddings=embeddings)
    assert method.loss(outputs)["info_nce"].item() == pytest.approx(expected, rel=1e-5)
    assert method.chance(outputs) == pytest.approx(6 * math.log(6))


def test_cmc_learns_from_any_senses_and_keeps_an_encoder_of_each(tmp_path):
    senses = three_senses()
    run = leaven.pretrain(senses, method="cmc", steps=80, batch=64, out=tmp_path / "run", precision="fp32", settings={"encoder.width": 32})
    assert run.metrics[-1]["loss"] < 0.6 * 6 * math.log(64)
    assert {name: leaven.load(run, name)(senses[name].numbers).shape for name in senses} == dict.fromkeys(senses, (512, 32))
    method = trained_method(run)
    assert torch.equal(method.senses["smell"](senses["smell"]), leaven.load(run, "smell")(senses["smell"]))


def test_targets_beside_the_inputs_are_no_senses():
    roles = {"pictures": torch.zeros(8, 3, 16, 16, dtype=torch.uint8), "mask": Mask(torch.zeros(8, 16, 16, dtype=torch.uint8))}
    assert find_method("cmc").inputs(open_data(roles).spec) == {"pictures": "channel_groups"}


@pytest.mark.parametrize("inputs", [torch.randn(64, 5), torch.zeros(64, 1, 16, 16, dtype=torch.uint8)])
def test_cmc_says_what_it_needs(inputs, tmp_path):
    with pytest.raises(leaven.UserError, match="several inputs of a sample, or the lightness and the colours"):
        leaven.pretrain(inputs, method="cmc", steps=1, out=tmp_path / "run")


# --- triplets ---


def squared(a, b):
    return float((F.normalize(a, dim=0) - F.normalize(b, dim=0)).square().sum())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("negatives", ["semi-hard", "hard", "all"])
def test_triplets_are_chosen_as_by_enumeration(negatives, seed):
    batch, margin = 6, 0.3
    a = rows(batch, 3, seed=seed)
    b = a + 0.5 * rows(batch, 3, seed=100 + seed)
    hinges = []
    for i in range(batch):
        positive = squared(a[i], b[i])
        others = [squared(a[i], b[j]) for j in range(batch) if j != i]
        if negatives == "all":
            hinges += [max(0.0, positive - other + margin) for other in others]
            continue
        further = [other for other in others if other > positive]
        chosen = min(others) if negatives == "hard" else min(further) if further else max(others)
        hinges.append(max(0.0, positive - chosen + margin))
    assert triplet(a, b, margin, negatives).item() == pytest.approx(sum(hinges) / len(hinges), abs=1e-5)


def test_semi_hard_negatives_are_further_than_the_positive_but_within_the_margin_where_there_are_some():
    angle = torch.tensor([0.0, 0.3, 0.5, 2.0])  # the first is the anchor, its positive lies at 0.3
    points = torch.stack([angle.cos(), angle.sin()], dim=1)
    anchors, positives = points[[0, 2, 3]], points[[1, 2, 3]]
    positive, semi = 2 - 2 * math.cos(0.3), 2 - 2 * math.cos(0.5)
    mine = triplet(anchors, positives, 1.0, "semi-hard").item() * 3
    others = [(0.0, 2 - 2 * math.cos(0.2)), (0.0, 2 - 2 * math.cos(1.5))]  # nearest negatives of the two that are their own positives
    assert mine == pytest.approx(positive - semi + 1 + sum(max(0.0, near - far + 1) for near, far in others), abs=1e-5)


# --- N pairs ---


def test_n_pair_is_the_formula_of_the_paper():
    f, p = rows(5, 4), rows(5, 4, seed=1)
    each = [math.log(1 + sum(math.exp(float(f[i] @ p[j] - f[i] @ p[i])) for j in range(5) if j != i)) for i in range(5)]
    assert n_pair(f, p).item() == pytest.approx(sum(each) / 5, rel=1e-5)
    assert n_pair(2 * f, p).item() != pytest.approx(sum(each) / 5, rel=1e-2)  # lengths count: nothing is normalised


def test_n_pair_keeps_embeddings_short_by_their_mean_squared_length():
    method = small("n_pair", regularization=0.5)
    outputs = Outputs(embeddings=[torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])])
    assert method.loss(outputs)["length"].item() == pytest.approx(0.5 * (25 + 1 + 0 + 4) / 4)


# --- supervised contrast ---


def test_supervised_contrast_without_labels_is_nt_xent():
    a, b = rows(6, 8).requires_grad_(), rows(6, 8, seed=1).requires_grad_()
    ours, expected = sup_con(a, b, torch.full((6,), -1), 0.2), nt_xent(a, b, 0.2)
    assert ours.item() == pytest.approx(expected.item(), abs=1e-6)
    for x, y in zip(torch.autograd.grad(ours, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        assert torch.allclose(x, y, atol=1e-6)


def test_supervised_contrast_divides_by_the_number_of_positives():
    a, b, label, t = rows(4, 3), rows(4, 3, seed=1), torch.tensor([0, 0, 1, -1]), 0.3
    z, kinds = F.normalize(torch.cat([a, b]), dim=1), [0, 0, 1, "alone", 0, 0, 1, "alone"]
    each = []
    for i in range(8):
        total = sum(math.exp(float(z[i] @ z[k]) / t) for k in range(8) if k != i)
        positives = [p for p in range(8) if p != i and kinds[p] == kinds[i]]
        each.append(sum(-math.log(math.exp(float(z[i] @ z[p]) / t) / total) for p in positives) / len(positives))
    assert sup_con(a, b, label, t).item() == pytest.approx(sum(each) / 8, rel=1e-5)


def test_supcon_says_so_when_no_sample_has_a_label(tmp_path):
    with pytest.raises(leaven.UserError, match="no sample has one"):
        leaven.pretrain(pictures(), method="supcon", steps=1, out=tmp_path / "run")


def test_what_supcon_learned_from_is_recorded_and_not_tested_on(tmp_path):
    labels = torch.where(torch.arange(64) < 40, torch.arange(64) % 3, -1)
    run = leaven.pretrain((pictures(), labels), method="supcon", steps=2, batch=32, out=tmp_path / "run", settings={"encoder.width": 8})
    assert len(run.learned_path.read_text().splitlines()) == 41
    with pytest.raises(leaven.UserError, match="test side"):
        leaven.evaluate(run, (pictures(), labels), budget="1s")
    with pytest.raises(leaven.UserError, match="no test split of its own"):
        leaven.compare((pictures(), labels), methods="supcon", steps=1, seeds=1, out=tmp_path / "compare")


def test_a_supcon_run_is_evaluated_as_an_encoder_and_not_as_a_classifier(tmp_path):
    run = leaven.pretrain("demo:digits", method="supcon", steps=2, batch=32, out=tmp_path / "run", settings={"encoder.width": 8})
    assert set(leaven.evaluate(run, "demo:digits", labels_only="1s").scores) == {"knn", "linear", "few-label"}
