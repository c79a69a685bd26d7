"""Two tasks that are each other's inverse: what they learn from, what they write, and by which likelihoods and gradients."""

import itertools
import time

import numpy as np
import pytest
import torch
from small import small, step_views

import leaven
from leaven.data import open_data
from leaven.draw import Draw
from leaven.encoders.encoder import Places
from leaven.methods import Outputs
from leaven.methods.marginals import Marginals
from leaven.modalities import InputSpec, Tokens, Vector
from leaven.modules.seq2seq import Writer
from leaven.modules.slots import are_slots, slots_of
from leaven.modules.text_scores import bleu_counts, bleu_of, f1, rouge_l, slot_counts
from leaven.modules.writing import Decoding

INPUT = InputSpec("text", (9,), vocabulary=7, special={"pad": 0, "begin": 1, "end": 2})
NAMES, FOODS, AREAS = ("The Mill", "The Eagle", "Aromi"), ("French", "Thai"), ("riverside", "city centre")
PAIRS = [(f"{n} serves {f} food, {a}.", f"name[{n}], food[{f}], area[{a}]") for n, f, a in itertools.product(NAMES, FOODS, AREAS)]
SMALL = {"encoder.width": 32, "encoder.depth": 1, "encoder.heads": 2, "heads": 2, "slots": 16, "dropout": 0.0, "encoder.dropout": 0.0}


@pytest.fixture
def dual():
    return small("dual_supervised")[0].eval()


@pytest.fixture
def writer():
    torch.manual_seed(0)
    one = Writer(INPUT, 6, width=8, depth=2, heads=2, dropout=0.0).double().eval()
    one.head.layer = torch.nn.Linear(8, 8).double()  # else each token would be followed by itself
    for weight in (one.tokens.weight, one.places.weight, *(layer.other.out.weight for layer in one.decoder.layers)):
        weight.data.mul_(50)
    return one


def read(count=3):
    places = 3 * torch.randn(count, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Places(places[:, 0], places, torch.arange(5) < torch.tensor([[5], [3], [4]])[:count])


# --- likelihoods ---


def test_the_gap_is_zero_for_the_pairs_of_a_true_joint_distribution_and_not_for_others(dual):
    joint = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    joint /= joint.sum()
    x, y = joint.sum(1, keepdim=True).expand_as(joint), joint.sum(0, keepdim=True).expand_as(joint)
    first, second = dual.senses
    log = {"marginal": {first: x.log().flatten(), second: y.log().flatten()}}
    nats = {second: -(joint / x).log().flatten(), first: -(joint / y).log().flatten()}
    assert torch.allclose(dual.gap(Outputs(nats=nats, **log)), torch.zeros(20, dtype=torch.float64), atol=1e-12)
    apart = dual.gap(Outputs(nats={second: -y.log().flatten(), first: nats[first]}, **log))
    assert torch.allclose(apart, (x * y / joint).log().flatten()) and apart.abs().max() > 0.1


def test_a_text_costs_the_nats_of_its_tokens_and_of_its_end_but_not_of_padding(writer):
    text = Tokens(torch.tensor([[1, 4, 5, 2], [1, 3, 2, 0], [1, 6, 6, 2]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]).bool())
    log = writer.head.logits(writer.states(writer.tokens(text.ids), read())).log_softmax(2)
    right = log[:, :-1].gather(2, text.ids[:, 1:, None])[..., 0]
    outputs = writer(text, read())
    assert outputs["count"].tolist() == [3, 2, 3]
    assert torch.allclose(outputs["nats"], -(right * text.mask[:, 1:]).sum(1))
    wider = Tokens(torch.nn.functional.pad(text.ids, (0, 3)), torch.nn.functional.pad(text.mask, (0, 3)))
    assert torch.allclose(writer(wider, read())["nats"], outputs["nats"])
    unread = read().places.clone()
    unread[1, 3:] = 9.0
    assert torch.allclose(writer(text, Places(unread[:, 0], unread, read().real))["nats"], outputs["nats"])


def test_a_model_of_sets_of_slots_is_the_made_of_the_latent_family_and_sums_to_one():
    torch.manual_seed(0)
    marginals = Marginals({"meaning": INPUT}, {"meaning": 8}, depth=1, heads=2, slots=6)
    marginals.know("meaning", [meaning for _, meaning in PAIRS])
    assert marginals.are_sets("meaning")
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)))
    log = marginals.log_prob("meaning", None, every)
    assert log.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(log, marginals.sets["meaning"].log_prob(Vector(every), Draw(0)), atol=1e-5)
    marginals.know("meaning", ["no slots", "here"])
    assert not marginals.are_sets("meaning")


def test_which_slots_a_text_has_does_not_depend_on_their_order_or_on_blanks():
    marginals = Marginals({"meaning": INPUT}, {"meaning": 8}, depth=1, heads=2, slots=8)
    marginals.know("meaning", [meaning for _, meaning in PAIRS])
    first, other, unknown = marginals.in_sets("meaning", ["name[The Mill], food[French]", "food [ French ] , name[the mill]", "name[Nobody]"])
    assert first.sum() == 2 and torch.equal(first, other) and unknown.sum() == 0


def test_marginals_take_no_gradient_while_the_tasks_are_learned_and_are_all_that_learns_before(dual):
    before, after = dual.stages()
    assert dual.marginals in before.trains and dual.marginals not in after.trains
    views = step_views(dual)
    dual.stage = 1
    terms = dual.loss(dual(views))
    assert set(terms) == {*dual.senses, "duality"}
    sum(terms.values()).backward()
    assert all(parameter.grad is None for parameter in dual.marginals.parameters())
    assert all(parameter.grad is not None for parameter in dual.writers.parameters())
    dual.zero_grad()
    dual.stage = 0
    sum(dual.loss(dual(views)).values()).backward()
    assert all(parameter.grad is None for parameter in dual.writers.parameters())
    assert dual.marginals.languages["text"].tokens.weight.grad is not None


def test_without_weight_the_two_models_are_trained_apart():
    apart = small("dual_supervised", weight=0.0)[0].eval()
    outputs = apart(step_views(apart))
    assert len(list(apart.stages())) == 1 and set(apart.loss(outputs)) == set(apart.senses)
    apart.loss(outputs)["text"].backward()
    assert all(parameter.grad is None for parameter in [*apart.writers["meaning"].parameters(), *apart.senses["text"].parameters()])


def test_a_shared_network_reads_both_texts_by_embeddings_of_their_own():
    both = small("dual_supervised", shared=True, weight=0.0)[0].eval()
    first, second = (both.senses[role].network for role in both.senses)
    assert first.get_input_embeddings() is not second.get_input_embeddings()
    assert all(one is other for one, other in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True))
    both.loss(both(step_views(both)))["text"].backward()
    assert all(parameter.grad is not None for parameter in first.encoder.parameters())


# --- writing ---


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_remembered_of_earlier_tokens_changes_nothing(writer, beams):
    seen = Places(*(part.repeat_interleave(beams, 0) for part in read()))

    def anew(begun):
        return writer.head.logits(writer.states(writer.tokens(begun.ids), seen)[:, -1])

    decoding = Decoding(beams)
    remembered = writer.write(read(), decoding, Draw(0))
    assert torch.equal(remembered.ids, decoding.write(anew, 3, INPUT, torch.device("cpu"), Draw(0)).ids)
    assert len(remembered.ids.unique(dim=0)) > 1


def test_one_beam_takes_the_likeliest_token_each_time(writer):
    text = writer.write(read(), Decoding(1), Draw(0))
    log = writer.log_shares(text, read())
    real = text.mask[:, 1:]
    assert torch.equal(log.argmax(2)[real], text.ids[:, 1:][real])


# --- the closed loop ---


def loop(**settings):
    method = small("joint_dual", **settings)[0].double().eval()
    return method, step_views(method)


def gradients(value, parameters):
    return [torch.zeros(1) if one is None else one for one in torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)]


def test_straight_through_gives_drawn_words_the_gradient_of_their_probabilities():
    method, views = loop()
    outputs, (source, target) = method(views), method.tasks[0]
    said, text = views["said"][target], views["texts"][source]
    embeddings = method.senses[target].network.get_input_embeddings()
    embedded = embeddings(said.ids).detach().requires_grad_()
    back = method.writers[source](text, method.read(target, said, embedded))["nats"]
    assert torch.allclose(outputs.back[source], back)  # of the words themselves
    (slope,) = torch.autograd.grad(back.sum(), embedded)
    shares = method.writers[target].log_shares(said, method.read(source, text)).exp()
    wanted = torch.autograd.grad((shares * (slope[:, 1:] @ embeddings.weight.detach().T)).sum(), list(method.writers[target].parameters()))
    found = gradients(outputs.back[source].sum(), list(method.writers[target].parameters()))
    assert all(torch.allclose(*pair) for pair in zip(wanted, found, strict=True)) and wanted[0].abs().max() > 0


def test_a_policy_weights_what_was_drawn_by_its_reward_less_that_of_the_other_samples():
    method, views = loop(gradient="policy")
    outputs, (source, target) = method(views), method.tasks[0]
    assert all(not one.any() for one in gradients(outputs.back[source].sum(), list(method.writers[target].parameters())))
    reward, log = outputs.reward[source], outputs.log_said[source]
    assert not reward.requires_grad and reward.std() > 0
    (found,) = gradients(method.policy_loss(outputs, source), [log])
    others = torch.stack([torch.cat([reward[:row], reward[row + 1 :]]).mean() for row in range(len(reward))])
    assert torch.allclose(found, -(reward - others) / len(reward))
    text = views["said"][target]
    log_shares = method.writers[target].log_shares(text, method.read(source, views["texts"][source]))
    drawn = torch.where(text.mask[:, 1:], log_shares.gather(2, text.ids[:, 1:, None])[..., 0], 0).sum(1)
    assert torch.allclose(log, drawn)


def test_a_loop_begins_only_at_texts_that_are_there():
    method = small("dual_unsupervised")[0].eval()
    method.stage = 1
    views = step_views(method)
    outputs = method(views)
    absent = ~views["present"]["meaning"]
    assert absent.any() and not outputs.back["meaning"][absent].any() and outputs.back["text"].all()
    assert not outputs.nats["text"][absent].any() and not outputs.nats["meaning"][absent].any()


# --- scores ---


def test_slots_are_read_as_a_set():
    assert slots_of("name[The Mill], food[Fast food]") == slots_of(" food [ fast food ],name[the mill] ") == {"name[themill]", "food[fastfood]"}
    assert are_slots(["name[a], b[c]", "x[y]"]) and not are_slots(["name[a] is here", "x[y]"]) and not are_slots([])
    right = slot_counts("name[a], food[b], area[c]", ["name[a]", "name[a], food[b], near[d], price[e]"])
    assert right == (2, 3, 4) and f1(right) == pytest.approx(4 / 7) and f1((0, 0, 0)) == 0


@pytest.mark.parametrize("text", [" " * 3000 + "x", ", ".join(f"n{number}[v]" for number in range(60)) + " and more", "a" * 20_000, "a[" * 5000])
def test_long_texts_that_are_no_slots_are_known_at_once(text):
    begun = time.perf_counter()
    assert not are_slots([text]) and len(slots_of(text)) in (0, 60)
    assert time.perf_counter() - begun < 2


def test_bleu_is_that_of_sacrebleu_with_all_references_of_an_input():
    sacrebleu = pytest.importorskip("sacrebleu")
    texts = ["the mill serves french food by the river", "a cheap pub called the eagle", "aromi is a coffee shop in the city centre"]
    references = [
        ["the mill serves good french food near the river", "french food by the river is served at the mill"],
        ["a cheap pub called the golden eagle"],
        ["aromi is a coffee shop", "in the city centre there is a coffee shop", "aromi"],
    ]
    counts = bleu_counts(texts, references)
    assert counts.shape == (3, 10)
    columns = [[some[number] if number < len(some) else None for some in references] for number in range(3)]
    assert bleu_of(counts.sum(0)) == pytest.approx(sacrebleu.corpus_bleu(texts, columns).score / 100)
    with pytest.raises(ValueError, match="2 texts need as many lists of references"):
        bleu_counts(texts[:2], references)


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence():
    assert rouge_l("police killed the gunman", ["the gunman police killed"]) == pytest.approx(0.5)
    assert rouge_l("police killed the gunman", ["police kill the gunman", "no"]) == pytest.approx(0.75)
    assert rouge_l("", ["a"]) == 0


# --- from a table to texts ---


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = {"text": [text for text, _ in PAIRS] * 4, "meaning": [meaning for _, meaning in PAIRS] * 4}
    settings = {**SMALL, "tokenizer.kind": "words", "recipe.lr": 1e-2, "weight": 0.01}
    out = tmp_path_factory.mktemp("dual") / "run"
    return leaven.pretrain(data, method="dual_supervised", steps=130, batch=24, out=out, settings=settings, report=False)


def test_each_text_is_written_from_the_other(run):
    meanings = leaven.predict(run, {"text": [text for text, _ in PAIRS]}, source="text", target="meaning")
    assert [slots_of(meaning) for meaning in meanings.texts] == [slots_of(meaning) for _, meaning in PAIRS]
    texts = leaven.predict(run, {"meaning": [meaning for _, meaning in PAIRS]}, source="meaning", target="text", beams=3)
    assert np.mean([rouge_l(text.replace(" ,", ",").replace(" .", "."), [right]) for text, (right, _) in zip(texts.texts, PAIRS, strict=True)]) > 0.9


def test_a_text_is_written_for_rows_that_lack_it(run, tmp_path):
    table = tmp_path / "rest.csv"
    table.write_text(f'ref,mr\n"{PAIRS[0][0]}","{PAIRS[0][1]}"\n"{PAIRS[1][0]}",\n,"{PAIRS[2][1]}"\n')
    columns = {"text": "ref", "meaning": "mr"}
    meanings = leaven.predict(run, table, columns=columns, source="text", target="meaning")
    assert [slots_of(meaning) for meaning in meanings.texts] == [slots_of(meaning) for _, meaning in PAIRS[:2]]
    assert len(leaven.predict(run, table, columns=columns, source="meaning", target="text").texts) == 2


def test_the_model_of_meanings_was_one_of_sets_and_has_learned(run):
    first = next(row for row in run.metrics if "marginal_of_meaning" in row)["marginal_of_meaning"]
    last = [row for row in run.metrics if "marginal_of_meaning" in row][-1]["marginal_of_meaning"]
    assert first == pytest.approx(16 * np.log(2), rel=0.3) and last < first / 2
    assert run.metrics[-1]["gap"] < 20


def test_a_run_is_scored_in_both_directions_beside_its_nearest_training_sample_and_a_copy(run):
    data = {"text": [text for text, _ in PAIRS] * 4, "meaning": [meaning for _, meaning in PAIRS] * 4}
    card = leaven.evaluate(run, data)
    score = card.scores["writing"]["directions"]
    assert score["text to meaning"]["f1"]["value"] > 0.95 and score["meaning to text"]["measure"] == "bleu"
    assert card.floors["copied"]["writing"]["directions"]["text to meaning"]["f1"]["value"] == 0
    low, high = score["text to meaning"]["rouge_l"]["interval"]
    assert low <= score["text to meaning"]["rouge_l"]["value"] <= high
    assert "text to meaning: F1 of slots" in card.sentence() and any(row[0] == "meaning to text, BLEU" for row in card.table())


def test_rows_that_lack_a_text_are_kept_where_a_method_learns_from_them(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text('ref,mr\na b,"x[y]"\nc d,\n,"x[z]"\n,\n')
    columns = {"text": "ref", "meaning": "mr"}
    kept = open_data(table, columns=columns, unpaired=True)
    assert kept.rows["text"].texts.tolist() == ["a b", "c d", ""] and kept.rows["meaning"].texts.tolist() == ["x[y]", "", "x[z]"]
    assert [broken.why for broken in kept.broken] == ["empty in text and meaning"]
    assert len(open_data(table, columns=columns)) == 1


# --- bad input ---


@pytest.mark.parametrize(
    ("data", "method", "settings", "why"),
    [
        ({"x": ["a b", "c d"]}, "dual_supervised", {}, "learns from two texts of a sample, and this data has 1: x: name two columns"),
        ({"text": ["a b", ""], "meaning": ["", "c"]}, "dual_supervised", {}, "no sample has both text and meaning"),
        ({"text": ["a b", "c"], "meaning": ["d", "c"]}, "dual_unsupervised", {}, "every sample has both texts"),
        ({"text": ["a b", "c"], "meaning": ["d", "c"]}, "joint_dual", {"feedback": "praise"}, "no feedback is called 'praise'"),
        ({"text": ["a b", "c"], "meaning": ["d", "c"]}, "joint_dual", {"feedback": "scores"}, "gradient=policy"),
        ({"text": ["a b", "c"], "meaning": ["d", "c"]}, "joint_dual", {"heads": 3}, "does not divide into 3 heads"),
        ({"text": ["a b", "c"], "meaning": ["d", "c"]}, "joint_dual", {"shared": True, "encoder.text.width": 64}, "cannot share a network"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(data, method, settings, why, tmp_path):
    with pytest.raises(leaven.UserError, match=why) as refusal:
        leaven.pretrain(data, method=method, steps=2, batch=2, settings={**SMALL, **settings}, out=tmp_path / "run", report=False)
    assert "\n" not in str(refusal.value)


def test_an_unknown_direction_is_refused_and_those_that_there_are_are_named(run):
    with pytest.raises(leaven.UserError, match="--from text --to meaning or --from meaning --to text"):
        leaven.predict(run, {"text": ["a"]}, source="text", target="picture")
