"""Encoders of text, what methods learn from it, and scores of pairs: exact values."""

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

import leaven
from leaven.api.reconstruct import words_kept
from leaven.data import Batch, open_data
from leaven.data.spec import DataSpec
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.encoders.store import load_encoder
from leaven.encoders.transformer import TextEncoder, Whitening, bare_network
from leaven.evaluation.evaluate import evaluate_protocols
from leaven.evaluation.protocol import Trial
from leaven.evaluation.protocols.sts import rank_correlation, shape, whitened
from leaven.evaluation.scorecard import Scorecard
from leaven.losses import info_nce, weighted_contrast
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec, Tokens, Vector
from leaven.modules.packing import STEP, Packing
from leaven.modules.text import hidden_tokens

SPECIAL = {"pad": 0, "unknown": 1, "begin": 2, "end": 3, "mask": 4}
INPUT = InputSpec("text", (12,), vocabulary=40, special=SPECIAL)
SMALL = {"width": 16, "depth": 2, "heads": 2}
SENTENCES = [
    f"{who} {does} {what}" for who in ("a cat", "the dog", "one bird") for does in ("sees", "likes") for what in ("the sea", "a tree", "my house")
]


def tokens(count=8, longest=12, seed=0):
    """Texts of different lengths that begin and end as they should."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, longest + 1, (count, 1), generator=generator)
    place = torch.arange(longest)
    ids = torch.randint(5, 40, (count, longest), generator=generator)
    ids = torch.where(place == 0, SPECIAL["begin"], torch.where(place == lengths - 1, SPECIAL["end"], ids))
    return Tokens(torch.where(place < lengths, ids, 0), place < lengths)


def encoder(name="transformer", **arguments):
    torch.manual_seed(0)
    return build_encoder(name, INPUT, {**SMALL, **arguments})


def made(name, data=None, encoder_name="transformer", rarity=1e-3, **settings):
    spec = data or DataSpec(8, {"x": INPUT})
    torch.manual_seed(0)
    kind = find_method(name)
    arguments = {"width": 16, "rarity": rarity} if encoder_name == "word_vectors" else SMALL
    return build_method(kind, spec, {next(iter(kind.inputs(spec))): build_encoder(encoder_name, INPUT, arguments)}, settings)[0]


# --- encoders ---


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bert", {}),
        ("roberta", {}),
        ("roberta-prelayernorm", {"is_decoder": True}),
        ("modernbert", {"cls_token_id": 2, "sep_token_id": 3}),
        ("gpt2", {"n_layer": 2, "n_embd": 32, "n_head": 4}),
        ("llama", {"num_key_value_heads": 2}),
        ("mpnet", {}),
    ],
)
def test_without_padding_every_token_has_the_features_that_it_has_with_padding(kind, options):
    from transformers import AutoConfig, AutoModel

    sizes = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = AutoConfig.for_model(
        kind, **{**sizes, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, **options}
    )
    config.use_cache = False
    torch.manual_seed(0)
    packed = TextEncoder(INPUT, bare_network(config), "mean").eval()
    padded = AutoModel.from_config(config, attn_implementation="eager").eval()
    padded.load_state_dict(packed.network.state_dict(), strict=False)
    x = tokens(40)
    with torch.no_grad():
        found = packed.token_features(x)
        extra = {"position_ids": torch.arange(12).expand(40, -1)} if kind == "gpt2" else {}
        expected = padded(input_ids=x.ids, attention_mask=x.mask.long(), **extra).last_hidden_state * x.mask[..., None]
        mean = expected.sum(1) / x.mask.sum(1, keepdim=True)
    assert torch.allclose(found.tokens, expected, atol=1e-5) and len(found.layers) == 2
    assert torch.allclose(found.features, mean, atol=1e-5) and torch.allclose(packed(x), mean, atol=1e-5)
    assert [name for block in packed.depths() for name in block] == [name for name, _ in packed.named_parameters()]


def test_packing_keeps_every_token_once_in_its_place():
    x = tokens(50)
    packing = Packing.of(x.mask)
    assert torch.equal(packing.flat[packing.real].sort().values, x.mask.flatten().nonzero()[:, 0])
    assert torch.equal(packing.unpacked(x.ids.flatten()[packing.flat].float()[:, None], x.ids.shape)[..., 0].long(), x.ids)
    assert all(length % STEP == 0 or length == x.mask.sum(1).max() for _, length in packing.groups)
    texts = [
        text for (count, length), each in zip(packing.groups, in_groups(packing, packing.real), strict=True) for text in each.view(count, length)
    ]
    assert [int(text.sum()) for text in texts] == x.mask.sum(1).sort().values.tolist()  # whole texts, filled up at their end
    assert all(bool((text.int().diff() <= 0).all()) for text in texts)
    places = [
        place for each, text in zip(packing.positions.split([len(text) for text in texts]), texts, strict=True) for place in each[text].tolist()
    ]
    assert places == [place for text in texts for place in range(int(text.sum()))]
    assert Packing.of(torch.tensor([[True, True], [False, False]])).groups == [(1, 2)]
    assert Packing.of(torch.zeros(2, 3, dtype=torch.bool)).groups == []


def test_packing_leaves_few_long_texts_side_by_side():
    packing = Packing.of(torch.ones(40, 512, dtype=torch.bool))
    assert packing.groups == [(8, 512)] * 5


def in_groups(packing, values):
    return values.split([count * length for count, length in packing.groups])


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_features_depend_on_no_other_text_and_on_no_padding(pooling):
    each = encoder(pooling=pooling).eval()
    x = tokens()
    wider = Tokens(F.pad(x.ids, (0, 5)), F.pad(x.mask, (0, 5)))
    with torch.no_grad():
        together = each(x)
        alone = torch.cat([each(x[torch.tensor([row])]) for row in range(len(x))])
        assert torch.allclose(together, alone, atol=1e-5) and torch.allclose(each(wider), together, atol=1e-5)
        assert torch.allclose(each(x.ids), together, atol=1e-6)  # ids alone: padding is known by its id


def test_a_token_that_is_left_out_leaves_no_gap():
    each, x = encoder().eval(), tokens()
    mask = x.mask.clone()
    mask[:, 2] = False
    closed = Tokens(torch.cat([x.ids[:, :2], x.ids[:, 3:]], 1), torch.cat([mask[:, :2], mask[:, 3:]], 1))
    with torch.no_grad():
        assert torch.allclose(each(Tokens(x.ids, mask)), each(closed), atol=1e-5)


def test_a_causal_encoder_sees_nothing_that_comes_later():
    each, x = encoder("causal_transformer").eval(), tokens()
    changed = x.ids.clone()
    changed[:, 3] = (changed[:, 3] + 1).clamp(min=5, max=39)
    with torch.no_grad():
        a, b = each.tokens(x), each.tokens(Tokens(changed, x.mask))
    assert torch.equal(a[:, :3], b[:, :3]) and not torch.allclose(a[:, 3], b[:, 3])


def test_a_model_of_transformers_is_read_from_its_folder_with_its_tokens(tmp_path):
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from leaven.modalities.tokenizer import Tokenizer, TokenizerChoice

    inner = Tokenizer.trained(SENTENCES, TokenizerChoice())
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=inner.inner, model_max_length=32, **names).save_pretrained(tmp_path / "bert")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 32}
    torch.manual_seed(1)
    model = BertModel(BertConfig(vocab_size=inner.vocabulary, **sizes)).eval()
    model.save_pretrained(tmp_path / "bert")
    run = leaven.pretrain(
        SENTENCES, method="simcse", encoder=str(tmp_path / "bert"), steps=1, batch=8, out=tmp_path / "run", precision="fp32",
        settings={"recipe.lr": 0.0, "head": 8, "whiten": False},
    )  # fmt: skip
    read = inner(SENTENCES)[torch.arange(len(SENTENCES))]
    with torch.no_grad():
        hidden = model(input_ids=read.ids, attention_mask=read.mask.long()).last_hidden_state
    expected = (hidden * read.mask[..., None]).sum(1) / read.mask.sum(1, keepdim=True)
    (tmp_path / "bert").rename(tmp_path / "gone")  # the run stands by itself
    found = leaven.embed(run, SENTENCES)
    assert torch.allclose(torch.from_numpy(found), expected, atol=1e-5)


def test_a_training_goes_on_from_the_encoder_of_a_run(tmp_path):
    settings = {f"encoder.{name}": value for name, value in SMALL.items()}
    first = leaven.pretrain(SENTENCES, method="masked_lm", steps=2, batch=8, out=tmp_path / "first", settings=settings)
    again = leaven.pretrain(
        SENTENCES, method="simcse", encoder=str(first.path), steps=1, batch=8, out=tmp_path / "second", settings={"recipe.lr": 0.0}
    )
    a, b = (load_encoder(run.encoder_folder) for run in (first, again))
    assert all(torch.equal(a.state_dict()[name], tensor) for name, tensor in b.state_dict().items())
    assert a.tokenizer.digest() == b.tokenizer.digest()


def test_a_refused_training_leaves_no_tokeniser_behind(tmp_path):
    for settings, batch in (({"recipe.optimizer": "adamz"}, 8), ({}, 10_000)):
        with pytest.raises(leaven.UserError):
            leaven.pretrain(SENTENCES, method="simcse", steps=1, batch=batch, out=tmp_path / "run", settings=settings)
        assert not (tmp_path / "run").exists()


# --- SimCSE ---


def test_the_contrast_of_two_readings_by_hand():
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    half = 1 / math.sqrt(2)
    rows = [[1 / 0.5, half / 0.5], [0.0, half / 0.5]]
    expected = sum(math.log(sum(map(math.exp, row))) - row[place] for place, row in enumerate(rows)) / 2
    assert info_nce(a, b, 0.5, same=torch.tensor([1, 2])).item() == pytest.approx(expected, abs=1e-6)


def test_equal_texts_are_no_negatives_of_each_other():
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    same = torch.tensor([7, 8, 7, 9])
    logits = F.normalize(z) @ F.normalize(z).T / 0.5
    logits[0, 2] = logits[2, 0] = -torch.inf
    assert info_nce(z, z, 0.5, same=same).item() == pytest.approx(F.cross_entropy(logits, torch.arange(4)).item(), abs=1e-6)
    assert info_nce(z, z, 0.5, same=torch.zeros(4, dtype=torch.int64)).item() == pytest.approx(0, abs=1e-6)


def test_hard_negatives_are_further_keys():
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    q, k = F.normalize(z[:2]), F.normalize(z[2:])
    assert info_nce(z[:2], z[2:], 0.1).item() == pytest.approx(F.cross_entropy(q @ k.T / 0.1, torch.arange(2)).item(), abs=1e-6)


def test_two_masks_differ_and_one_does_not():
    batch = Batch.of(x=tokens())
    for two_masks in (True, False):
        method = made("simcse", two_masks=two_masks).train()
        first, second = method(method.views(batch, Draw(0)))["features"]
        assert torch.equal(first, second) is not two_masks


def test_dropout_of_zero_is_refused_with_a_hint(tmp_path):
    with pytest.raises(leaven.UserError, match=r"without dropout.*encoder\.dropout"):
        leaven.pretrain(SENTENCES, method="simcse", steps=1, batch=8, out=tmp_path / "run", settings={"encoder.dropout": 0.0})


def test_the_head_of_simcse_is_for_training_alone():
    method = made("simcse", head=24)
    assert method.encoders()["encoder"].dim == 16 and method.head[0].out_features == 24


# --- masked and causal language models ---


def test_as_many_tokens_are_hidden_as_asked_for_and_never_special_ones():
    x = tokens(4000)
    views = hidden_tokens(INPUT, x, Draw(0), 0.15)
    plain = x.mask & (x.ids > 4)
    told = views["hidden"]
    assert not (told & ~plain).any() and torch.equal(views["ids"], x.ids)
    assert told.sum() / plain.sum() == pytest.approx(0.15, abs=0.005)
    shown = views["shown"].ids
    assert torch.equal(shown[~told], x.ids[~told])
    assert (shown == SPECIAL["mask"])[told].float().mean() == pytest.approx(0.8, abs=0.02)
    assert (shown == x.ids)[told].float().mean() == pytest.approx(0.1 + 0.1 / 40, abs=0.02)


def test_hidden_tokens_are_the_same_however_a_batch_is_divided():
    x = tokens(8)
    whole = hidden_tokens(INPUT, x, Draw("views"), 0.3)["hidden"]
    parts = [(x[torch.arange(4 * part, 4 * part + 4)], Draw("views", part=part, parts=2)) for part in range(2)]
    halves = [hidden_tokens(INPUT, part, draw, 0.3)["hidden"] for part, draw in parts]
    assert torch.equal(torch.cat(halves), whole)


@pytest.mark.parametrize("name", ["masked_lm", "causal_lm", "tsdae"])
def test_the_loss_is_the_mean_nats_of_a_token_and_chance_is_a_uniform_guess(name):
    method = made(name, encoder_name="causal_transformer" if name == "causal_lm" else "transformer").eval()
    batch = Batch.of(x=tokens())
    views = method.views(batch, Draw(0))
    outputs = method(views)
    assert method.loss(outputs)["cross_entropy"].item() == pytest.approx((outputs.nats.sum() / outputs.count.sum()).item(), abs=1e-6)
    for parameter in method.parameters():
        nn.init.zeros_(parameter)
    assert method.loss(method(views))["cross_entropy"].item() == pytest.approx(math.log(40), abs=1e-5) == method.chance(outputs)


def test_a_causal_model_gives_every_text_its_probability():
    """Over all texts of two tokens and an end, as over what the model can say at each place."""
    method = made("causal_lm", encoder_name="causal_transformer").eval()
    x = tokens(5)
    nats = -method.log_prob(x, Draw(0))
    logits = method.head.logits(method.encoder.tokens(x)).log_softmax(-1)
    by_hand = [-sum(logits[row, place, x.ids[row, place + 1]].item() for place in range(int(x.mask[row].sum()) - 1)) for row in range(5)]
    assert torch.allclose(nats, torch.tensor(by_hand), atol=1e-4)


def test_what_a_causal_model_writes_begins_and_ends_as_texts_do():
    method = made("causal_lm", encoder_name="causal_transformer").eval()
    with torch.no_grad():
        found = method.sample(200, Draw(3))
        again = method.sample(200, Draw(3))
    assert torch.equal(found.ids, again.ids) and (found.ids[:, 0] == SPECIAL["begin"]).all() and found.ids.shape[1] <= 12
    for ids, mask in zip(found.ids, found.mask, strict=True):
        inside = ids[1 : int(mask.sum())].tolist()
        assert all(token > 4 for token in inside[:-1]) and (inside[-1] == SPECIAL["end"] or len(inside) == 11)


def test_samples_come_as_often_as_the_model_says():
    method = made("causal_lm", encoder_name="causal_transformer").eval()
    with torch.no_grad():
        start = Tokens(torch.tensor([[SPECIAL["begin"]]]), torch.ones(1, 1, dtype=torch.bool))
        logits = method.head.logits(method.encoder.tokens(start))[0, 0]
        logits[[0, 1, 2, 4]] = -torch.inf
        found = method.sample(4000, Draw(1)).ids[:, 1].bincount(minlength=40) / 4000
    assert torch.allclose(found, logits.softmax(0), atol=0.02)


# --- text VAE, TSDAE ---


def test_the_bound_of_a_text_grows_with_the_codes_that_are_drawn():
    few, many = (made("text_vae", code=4, bound_samples=count).eval() for count in (1, 200))
    x = tokens(6)
    with torch.no_grad():
        low = torch.stack([few.log_prob(x, Draw(seed)) for seed in range(40)]).mean(0)
        high = many.log_prob(x, Draw(0))
    assert (high >= low - 0.05).all()


def test_the_terms_of_a_text_vae_make_its_bound():
    method = made("text_vae", code=4, free_bits=0.0, annealing=0.0, word_dropout=0.0).eval()
    views = method.views(Batch.of(x=tokens()), Draw(0))
    terms = method.loss(method(views))
    mean, log_variance = method.posterior(views["x"])
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
    assert terms["kl"].item() == pytest.approx(kl.item(), abs=1e-5)
    assert terms["reconstruction"].item() == pytest.approx(method(views).nats.mean().item(), abs=1e-5)


def test_annealing_rises_from_nothing_to_all_and_free_bits_are_of_the_batch():
    method = made("text_vae", code=4, annealing=0.5, free_bits=0.2)
    weights = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        method.progress.fill_(progress)
        weights.append(float(method.weight))
    assert weights == [0.0, 0.5, 1.0, 1.0]
    outputs = method(method.views(Batch.of(x=tokens()), Draw(0)))
    outputs["mean"], outputs["log_variance"] = torch.zeros_like(outputs.mean), torch.zeros_like(outputs.log_variance)
    assert method.loss(outputs)["kl"].item() == pytest.approx(4 * 0.2)


def test_a_decoder_knows_the_tokens_before_and_no_other():
    method = made("tsdae").eval()
    x, changed = tokens(), tokens()
    changed.ids[:, 3] = (changed.ids[:, 3] + 1).clamp(min=5, max=39)
    vectors = torch.randn(8, 16)
    with torch.no_grad():
        a, b = (method.decoder.states(vectors, each) for each in (x, changed))
    assert torch.allclose(a[:, :3], b[:, :3], atol=1e-6) and not torch.allclose(a[:, 3], b[:, 3])


def test_deletion_spares_what_begins_and_ends_a_text():
    method = made("tsdae", deleted=0.9)
    x = tokens(200)
    views = method.views(Batch.of(x=x), Draw(0))
    special = x.mask & (x.ids <= 4)
    assert (views["x"].mask & special).equal(special)
    assert (views["x"].mask & ~special).sum() / (x.mask & ~special).sum() == pytest.approx(0.1, abs=0.03)


# --- word2vec ---


def test_neighbours_weigh_as_often_as_a_random_window_reaches_them():
    method = made("word2vec", encoder_name="word_vectors", window=3)
    text = torch.tensor([0] * 5 + [1] * 40)
    near = method.near(text)
    assert near.shape == (2, 32, 38)
    whole = torch.zeros(64, 70)
    whole[:32, :38], whole[32:, 32:] = near
    whole = whole[:45, 3:48]
    assert whole[0, :6].tolist() == pytest.approx([0, 1, 2 / 3, 1 / 3, 0, 0]) and torch.equal(whole, whole.T)
    assert whole[30, 28:36].tolist() == pytest.approx([2 / 3, 1, 0, 1, 2 / 3, 1 / 3, 0, 0])
    assert near.sum() == whole.sum() and (whole > 0).equal((whole > 0) & (text[:, None] == text))


def test_words_in_a_row_have_those_around_their_blocks():
    method = made("word2vec", encoder_name="word_vectors", window=2)
    row = torch.arange(1.0, 41)
    assert method.around(row)[1].tolist() == [31, 32, *range(33, 41), *[0] * 26]
    assert torch.equal(method.around(row[:, None] * torch.tensor([1.0, 10]))[1, :, 1], 10 * method.around(row)[1])
    assert method.around(row[:0])[0].tolist() == [0] * 36


def test_skip_gram_with_negative_sampling_by_hand():
    method = made("word2vec", encoder_name="word_vectors", window=2, shared=3, negatives=2.0, subsample=0.0)
    nn.init.normal_(method.outputs.weight)
    ids, random = torch.tensor([[5, 6, 7]]), torch.tensor([[8, 6, 9]])
    outputs = method({"ids": ids[0], "text": torch.zeros(3, dtype=torch.int64), "random": random[0], "none": torch.zeros(1)})
    u, v = method.encoder.vectors.weight, method.outputs.weight
    weights = {(0, 1): 1.0, (1, 0): 1.0, (1, 2): 1.0, (2, 1): 1.0, (0, 2): 0.5, (2, 0): 0.5}
    shift = math.log(2.0)
    expected = sum(weight * F.softplus(shift - u[ids[0, i]] @ v[ids[0, j]]) for (i, j), weight in weights.items())
    for i, pairs in enumerate((1.5, 2.0, 1.5)):
        odd = [word for word in (8, 6, 9) if word != ids[0, i]]
        expected = expected + pairs * 2.0 / len(odd) * sum(F.softplus(u[ids[0, i]] @ v[word] - shift) for word in odd)
    assert outputs.nats.item() == pytest.approx(expected.item(), abs=1e-4) and outputs.pairs.item() == pytest.approx(5.0)


def test_a_bag_of_neighbours_tells_its_word_by_hand():
    method = made("word2vec", encoder_name="word_vectors", window=2, shared=3, negatives=2.0, subsample=0.0, model="cbow")
    nn.init.normal_(method.outputs.weight)
    ids, random = torch.tensor([5, 6, 7, 9]), torch.tensor([8, 6, 9])
    outputs = method({"ids": ids, "text": torch.tensor([0, 0, 0, 1]), "random": random, "none": torch.zeros(2)})
    u, v = method.encoder.vectors.weight, method.outputs.weight
    around = {5: (u[6] + u[7] / 2) / 1.5, 6: (u[5] + u[7]) / 2, 7: (u[6] + u[5] / 2) / 1.5}
    expected, shift = 0.0, math.log(2.0)
    for word, mean in around.items():
        odd = [other for other in (8, 6, 9) if other != word]
        expected = expected + F.softplus(shift - mean @ v[word]) + 2.0 / len(odd) * sum(F.softplus(mean @ v[other] - shift) for other in odd)
    assert outputs.nats.tolist() == pytest.approx([expected.item(), 0], abs=1e-4) and outputs.pairs.tolist() == [3, 0]


def test_frequent_words_are_left_out_and_random_ones_drawn_by_their_power(tmp_path):
    method = made("word2vec", encoder_name="word_vectors", subsample=1e-2, power=0.75)
    counts = torch.zeros(1, 40)
    counts[0, 5:8] = torch.tensor([1000.0, 10.0, 1.0])
    method.count(lambda function: counts)
    share = counts[0, 5:8] / counts.sum()
    assert torch.allclose(method.chances[5:8], share**0.75) and method.chances[:5].sum() == 0
    assert torch.allclose(method.kept[5:8], ((1e-2 / share).sqrt() + 1e-2 / share).clamp(max=1), atol=1e-5)


@pytest.mark.parametrize("rarity", [0.0, 1e-2])
def test_frequent_words_weigh_less_in_the_mean_of_a_text(rarity):
    method = made("word2vec", encoder_name="word_vectors", rarity=rarity)
    counts = torch.zeros(1, 40)
    counts[0, 5:7] = torch.tensor([90.0, 10.0])
    method.count(lambda function: counts)
    read = Tokens(torch.tensor([[2, 5, 6, 3]]), torch.ones(1, 4, dtype=torch.bool))  # between what begins and what ends it
    often, seldom = method.encoder.vectors.weight[5:7]
    weight = [1.0, 1.0] if rarity == 0 else [rarity / (rarity + share) for share in (0.9, 0.1)]
    assert torch.allclose(method.encoder(read)[0], (weight[0] * often + weight[1] * seldom) / sum(weight), atol=1e-6)


def test_the_loss_is_least_where_products_are_mutual_information():
    method = made("word2vec", encoder_name="word_vectors", window=1, negatives=3.0, subsample=0.0)
    joint = torch.tensor([[0.30, 0.10], [0.10, 0.50]])  # of a word (row) and its neighbour
    single = joint.sum(0)
    score = (joint / (joint.sum(1, keepdim=True) * single)).log().requires_grad_()
    pairs = (joint * F.softplus(method.shift - score)).sum()
    noise = (joint.sum(1, keepdim=True) * single * method.negatives * F.softplus(score - method.shift)).sum()
    assert torch.autograd.grad(pairs + noise, score)[0].abs().max() < 1e-6
    assert method.chance(None) == pytest.approx(F.softplus(torch.tensor(method.shift)).item() + 3 * F.softplus(-torch.tensor(method.shift)).item())


def test_words_in_the_same_places_get_similar_vectors(tmp_path):
    texts = [f"{a} {verb} {b}" for a in ("red", "blue", "green") for verb in ("meets", "sees") for b in ("one", "two", "six")] * 20
    settings = {"encoder.width": 16, "subsample": 0.0, "window": 2, "negatives": 1.0, "recipe.lr": 0.03}
    run = leaven.pretrain(texts, method="word2vec", steps=150, batch=64, out=tmp_path / "run", settings=settings, precision="fp32")
    vectors = F.normalize(torch.from_numpy(leaven.embed(run, ["red", "blue", "green", "one", "two", "six"])), dim=1)
    alike = vectors @ vectors.T
    within, between = (alike[:3, :3].sum() - 3) / 6, alike[:3, 3:].mean()
    assert within > between + 0.3


# --- pairs and triplets ---


def pairs_spec(**roles):
    return DataSpec(8, {**{name: INPUT for name in ("a", "b")}, **roles})


def test_scored_pairs_get_cosines_that_are_their_scores():
    method = made("sentence_bert", pairs_spec(score=InputSpec("vector", (1,)))).eval()
    batch = Batch.of(a=tokens(4), b=tokens(4, seed=1), score=Vector(torch.tensor([[0.0], [2.5], [5.0], [1.0]])))
    outputs = method(method.views(batch, Draw(0)))
    expected = (F.cosine_similarity(*outputs.features) - torch.tensor([0, 0.5, 1, 0.2])).square().mean()
    assert method.loss(outputs)["squared_error"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_triplets_are_told_apart_by_a_margin():
    spec = DataSpec(8, dict.fromkeys(("anchor", "positive", "negative"), INPUT))
    method = made("sentence_bert", spec, margin=0.5).eval()
    batch = Batch.of(anchor=tokens(4), positive=tokens(4, seed=1), negative=tokens(4, seed=2))
    outputs = method(method.views(batch, Draw(0)))
    a, p, n = outputs.features
    expected = ((a - p).norm(dim=1) - (a - n).norm(dim=1) + 0.5).clamp(min=0).mean()
    assert method.loss(outputs)["triplet"].item() == pytest.approx(expected.item(), abs=1e-4)


def test_labeled_pairs_are_classified():
    spec = DataSpec(8, dict.fromkeys(("a", "b"), INPUT), classes=3, labeled=8)
    method = made("sentence_bert", spec).eval()
    label = torch.tensor([0, 1, 2, -1])
    outputs = method(method.views(Batch.of(a=tokens(4), b=tokens(4, seed=1), label=label), Draw(0)))
    a, b = outputs.features
    logits = method.classifier(torch.cat([a, b, (a - b).abs()], 1))
    expected = F.cross_entropy(logits[:3], label[:3], reduction="sum") / 4
    assert method.loss(outputs)["cross_entropy"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_pairs_without_score_or_label_are_refused():
    with pytest.raises(leaven.UserError, match="a score or a label"):
        made("sentence_bert", pairs_spec())


def test_supervised_contrast_divides_by_the_weight_of_the_positives():
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[9.0, 2, 0, 1], [2, 9, 0, 0], [0, 0, 9, 0], [1, 0, 0, 9]])
    logits = (F.normalize(z) @ F.normalize(z).T / 0.3).fill_diagonal_(-torch.inf).log_softmax(1)
    expected = -((2 * logits[0, 1] + logits[0, 3]) / 3 + logits[1, 0] + logits[3, 0]) / 4
    assert weighted_contrast(z, weight, 0.3).item() == pytest.approx(expected.item(), abs=1e-5)


# --- similarity ---


def test_similarity_is_spearman_with_ties():
    cosine, scores = torch.tensor([0.1, 0.4, 0.4, 0.9, 0.2]), torch.tensor([1.0, 2.0, 3.0, 3.0, 0.0])
    found = rank_correlation(cosine, scores, 0)
    assert found["spearman"] == pytest.approx(spearmanr(cosine, scores).statistic) and found["pairs"] == 5
    assert found["interval"][0] <= found["spearman"] <= found["interval"][1]


def test_similarity_is_scored_on_the_test_pairs_beside_its_floors(tmp_path):
    rows = [f"{a},{b},{score},{split}" for split in ("train", "test")
            for a, b, score in zip(SENTENCES, [*SENTENCES[:6], *SENTENCES[:5:-1]], [5] * 6 + list(range(12)), strict=True)]  # fmt: skip
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score,split\n" + "\n".join(rows) + "\n")
    run = leaven.pretrain(SENTENCES, method="simcse", steps=2, batch=8, out=tmp_path / "run", settings={f"encoder.{k}": v for k, v in SMALL.items()})
    card = leaven.evaluate(run, tmp_path / "pairs.csv")
    assert card.scores["sts"]["pairs"] == 18 and set(card.floors) == {"input", "characters", "words", "untrained"}
    assert {"alignment", "uniformity", "anisotropy"} <= card.scores["sts"].keys() and "Spearman" in card.text()


def test_classes_of_texts_are_scored_beside_tf_idf_and_the_mean_of_word_vectors(tmp_path):
    texts = [f"{sentence} {number}" for number in range(4) for sentence in SENTENCES]
    labels = [int("cat" in text) for text in texts]
    run = leaven.pretrain(texts, method="masked_lm", steps=1, batch=8, out=tmp_path / "run", settings={f"encoder.{k}": v for k, v in SMALL.items()})
    card = leaven.evaluate(run, (texts, labels), protocols=("linear", "retrieval"))
    assert set(card.floors) == {"input", "characters", "words", "untrained", "majority"}
    assert card.floors["words"]["linear"]["accuracy"] == 1.0  # whether a word stands in a text can be read off the mean
    best = {"characters": {"linear": {"accuracy": 0.9, "interval": [0.88, 0.92]}}}
    worse = Scorecard("masked_lm", "transformer", "texts", {"linear": {"accuracy": 0.5, "interval": [0.4, 0.6]}}, best)
    assert "worse than tf-idf of characters" in worse.sentence()


def test_similarity_needs_pairs_and_scores_that_differ():
    each = encoder().eval()
    with pytest.raises(leaven.UserError, match="no b and no score"):
        evaluate_protocols(Trial(open_data({"a": SENTENCES, "x": SENTENCES}), {"x": each}, "simcse"), ("sts",))
    same = open_data({"a": SENTENCES, "b": SENTENCES, "score": [1.0] * 18})
    with pytest.raises(leaven.UserError, match="the same score"):
        evaluate_protocols(Trial(same, {"x": each}, "simcse"), ("sts",))


@pytest.mark.parametrize(
    ("name", "settings"), [("text_vae", {"code": 8, "word_dropout": 0.0, "beta": 0.0, "recipe.lr": 4e-3}), ("tsdae", {"deleted": 0.0})]
)
def test_texts_go_through_a_code_and_back(tmp_path, name, settings):
    texts = [f"{who} {does} {what}" for who in ("a cat", "the dog") for does in ("watches", "fears") for what in ("rain", "trains", "films")]
    small = {"tokenizer.kind": "words", "encoder.width": 64, "encoder.depth": 1, "encoder.dropout": 0.0, **settings}
    run = leaven.pretrain(texts * 4, method=name, steps=150, batch=48, settings=small, out=tmp_path / "run", report=False)
    found = leaven.reconstruct(run, texts, out=tmp_path / "back.txt")
    assert found.originals == texts and (tmp_path / "back.txt").read_text().splitlines() == found.texts
    assert found.words_kept > 0.9 > 0.7 > found.of_another and found.tested == 12
    assert f"> {found.texts[0]}" in found.text() and found.to_dict()["words_kept"] == found.words_kept


def test_words_that_are_kept_are_counted_in_their_order():
    assert words_kept("a b c d", "a b c d") == 1 and words_kept("a b c d", "x a c y") == 0.5 and words_kept("a b", "b a") == 0.5
    assert words_kept("a b", "") == 0


def test_whitening_finds_the_similarity_that_one_long_direction_hides():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 200, 4, generator=generator)
    scores = F.cosine_similarity(a, b).double()
    turned, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    stretched = [5 + (each * torch.tensor([30.0, 1, 1, 0.1])) @ turned for each in (a, b)]
    white = torch.cat(whitened(*stretched))
    assert torch.allclose(white.T @ white, torch.eye(4).double(), atol=1e-6) and white.mean(0).abs().max() < 1e-6
    flat = [F.pad(each, (0, 1)) for each in stretched]
    assert [each.shape[1] for each in whitened(*flat)] == [4, 4]  # nothing varies along the fifth
    found = shape(*stretched, scores)
    plain = rank_correlation(F.cosine_similarity(*stretched), scores, 0)["spearman"]
    assert found["whitened"] > 0.97 > plain + 0.2
    assert "whitened" not in shape(*(each[:4] for each in stretched), scores[:4])


def test_whitened_features_vary_more_alike_in_all_directions():
    generator = torch.Generator().manual_seed(0)
    mixed = 3 + torch.randn(5000, 4, generator=generator) @ torch.randn(4, 4, generator=generator)
    layer = Whitening(4)
    assert torch.equal(layer(mixed), mixed) and not layer.fitted
    layer.fit(mixed)
    found = layer(mixed)
    before, after = (torch.linalg.eigvalsh(each.T.cov(correction=0)) for each in (mixed, found))
    assert layer.fitted and found.mean(0).abs().max() < 1e-4 and torch.allclose(after, before.sqrt(), rtol=0.2)
    for features in (mixed[:7], mixed[:1].expand(10, -1)):  # too few, and all the same
        untold = Whitening(4)
        untold.fit(features)
        assert not untold.fitted


@pytest.mark.parametrize("method", ["simcse", "masked_lm"])
def test_what_a_training_keeps_is_whitened_by_its_texts_and_exported_so(tmp_path, method):
    texts = [f"{sentence} {number}" for number in range(6) for sentence in SENTENCES]
    settings = {f"encoder.{name}": value for name, value in SMALL.items()}
    run = leaven.pretrain(texts, method=method, steps=3, batch=16, out=tmp_path / "run", settings=settings, precision="fp32", report=False)
    found = torch.from_numpy(leaven.embed(run, texts))
    assert found.mean(0).abs().max() < 1e-4
    plain = leaven.pretrain(
        texts, method=method, steps=3, batch=16, out=tmp_path / "plain", settings={**settings, "whiten": False}, precision="fp32", report=False
    )
    assert not leaven.load(plain).whitening.fitted and leaven.load(run).whitening.fitted
    longest = [
        torch.linalg.svdvals(each - each.mean(0))[0] / (each - each.mean(0)).norm() for each in (found, torch.from_numpy(leaven.embed(plain, texts)))
    ]
    assert longest[0] < 0.95 * longest[1]
    out = leaven.export(run, to="sentence-transformers", out=tmp_path / "exported").out
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(out), device="cpu").encode(texts)
    assert abs(theirs - found.numpy()).max() < 1e-4
    lines = leaven.export(run, to="transformers", out=tmp_path / "model").out.joinpath("README.md").read_text().split("```python")[1].split("```")[0]
    lines = lines.replace('from_pretrained(".")', f'from_pretrained("{tmp_path / "model"}")').replace(
        '"whitening.', f'"{tmp_path / "model"}/whitening.'
    )
    names = {}
    with torch.no_grad():
        exec(lines.replace('["a sentence", "another one"]', repr(texts[:2])), names)
    assert (names["features"] - found[:2]).abs().max() < 1e-4
