"""Bags of words: what is read and refused, likelihoods and machines of counts by enumeration, and the commands end to end."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfTransformer

import leaven
from leaven.data import open_data
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.inspection.inspect import channels_of
from leaven.methods.registry import build_method, find_method
from leaven.modalities import Counts, InputSpec, Vector, modality_of
from leaven.modalities import counts as bags
from leaven.modules.boltzmann import Boltzmann
from leaven.modules.likelihood import Multinomial, choose_likelihood
from leaven.modules.units import Binary, Words
from leaven.views import CountViews

MATRIX = sp.csr_matrix(np.array([[1, 0, 2, 0], [0, 0, 0, 0], [0, 3, 0, 0], [1, 1, 1.5, 0]]))


def texts(count=90, words=12, seed=0, empty=()):
    """Texts of three kinds, each of which has four words that are twelve times as frequent; those of some rows have no words."""
    generator = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    shares = np.where(np.arange(words)[None] // (words // 3) == kinds[:, None], 12.0, 1.0)
    drawn = np.stack([generator.multinomial(20, share / share.sum()) for share in shares])
    drawn[list(empty)] = 0
    return sp.csr_matrix(drawn), np.array(["sea", "sky", "soil"])[kinds]


def data_spec(matrix=MATRIX):
    return open_data(matrix).spec


# ---- what is read


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array])
def test_a_sparse_matrix_of_any_format_is_counts(kind):
    data = open_data(kind(MATRIX))
    assert isinstance(data.rows["x"], Counts)
    assert data.rows["x"].counts.tolist() == MATRIX.toarray()[[0, 2, 3]].tolist()
    assert data.spec.roles["x"].modality == "counts" and data.spec.roles["x"].shape == (4,)


def test_texts_without_words_are_set_aside_with_their_number_and_labels_stay_with_theirs():
    data = open_data((MATRIX, ["a", "b", "b", "a"]))
    assert [(broken.file, broken.why) for broken in data.broken] == [("#1", "no counts")]
    assert data.files == ("#0", "#2", "#3") and data.rows.label.tolist() == [0, 1, 0]
    pair = open_data({"anchor": MATRIX, "positive": MATRIX[::-1], "label": [0, 1, 2, 3]})
    assert len(pair) == 2 and pair.rows.label.tolist() == [0, 3]


def test_an_npz_file_of_scipy_is_read_with_labels_from_a_csv_by_number(tmp_path):
    sp.save_npz(tmp_path / "bags.npz", MATRIX.tocsc())
    (tmp_path / "labels.csv").write_text("file,label\n0,x\n#2,y\n1,x\n")
    data = open_data(tmp_path / "bags.npz", labels=str(tmp_path / "labels.csv"))
    assert isinstance(data.rows["x"], Counts) and len(data) == 3
    assert data.rows.label.tolist() == [0, 1, -1] and data.spec.class_names == ("x", "y")
    (tmp_path / "labels.csv").write_text("file,label\n7,x\n")
    with pytest.raises(UserError, match="match no file"):
        open_data(tmp_path / "bags.npz", labels=str(tmp_path / "labels.csv"))


def test_other_npz_files_stay_what_they_were(tmp_path):
    np.savez(tmp_path / "plain.npz", x=np.ones((3, 2), np.float32), y=np.arange(3))
    assert isinstance(open_data(tmp_path / "plain.npz").rows["x"], Vector)


def test_a_large_matrix_stays_sparse_and_is_the_same_data(monkeypatch):
    matrix, labels = texts(empty=[4])
    dense = open_data((matrix, labels))
    monkeypatch.setattr(bags, "DENSE_BYTES", 0)
    sparse = open_data((matrix, labels))
    assert isinstance(dense.rows["x"].counts, torch.Tensor) and isinstance(sparse.rows["x"].counts, bags.SparseTensor)
    assert sparse.fingerprint == dense.fingerprint and torch.equal(sparse.hashes, dense.hashes) and sparse.spec == dense.spec
    assert sparse.broken == dense.broken and sparse.files == dense.files and not sparse.undecoded
    rows = torch.tensor([5, 0, 88])
    assert torch.equal(sparse.rows.select(rows)["x"].counts, dense.rows.select(rows)["x"].counts)
    assert torch.equal(sparse.subset(rows).rows["x"].counts[torch.arange(3)], dense.subset(rows).rows["x"].counts)
    assert all(torch.equal(a, b) for a, b in zip(sparse.held_out()[:2], dense.held_out()[:2], strict=True))


BAD = {
    "negative": (MATRIX * -1, "negative, such as -3"),
    "NaN": (MATRIX * np.nan, "not finite"),
    "infinite": (MATRIX * np.inf, "not finite"),
    "no columns": (sp.csr_matrix((3, 0)), "3 x 0"),
    "all empty": (sp.csr_matrix((3, 2)), "no counts"),
    "negative and dense": (Counts(torch.tensor([[1.0, -2.0]])), "negative, such as -2"),
    "NaN and dense": (Counts(torch.tensor([[1.0, torch.nan]])), "not finite"),
    "complex": (MATRIX * 1j, "complex"),
}


@pytest.mark.parametrize(("given", "why"), BAD.values(), ids=BAD)
def test_what_are_no_counts_is_one_line(given, why):
    with pytest.raises(UserError, match=why):
        open_data(given)


def test_a_damaged_matrix_is_refused_and_not_read_beyond_its_memory(tmp_path, command):
    matrix = MATRIX.copy()
    matrix.indices[0] = 1000
    np.savez(tmp_path / "bad.npz", format=b"csr", shape=matrix.shape, data=matrix.data, indices=matrix.indices, indptr=matrix.indptr)
    status, _, told = command("inspect", tmp_path / "bad.npz")
    assert status == 2 and "cannot read the array" in told and "Traceback" not in told
    sp.save_npz(tmp_path / "negative.npz", MATRIX * -1)
    status, _, told = command("pretrain", tmp_path / "negative.npz", "--out", tmp_path / "run")
    assert status == 2 and "negative" in told and len(told.strip().splitlines()) <= 3


# ---- plain numbers that are not as they should be


@pytest.mark.parametrize("given", [np.array([[1.0, np.nan]]), np.array([[1.0, np.inf]]), Vector(torch.tensor([[1.0, torch.nan]]))])
def test_vectors_that_are_not_finite_are_refused(given):
    with pytest.raises(UserError, match="not finite"):
        open_data(given)


@pytest.mark.parametrize("constant", [0.0, 0.1, 12345.678, -3e8])
def test_a_constant_column_becomes_0_and_does_not_explode_on_other_numbers(constant):
    numbers = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    numbers[:, 1] = constant
    data = open_data(numbers)
    assert data.spec.roles["x"].std[1] == 1.0
    encoder = build_encoder("mlp", data.spec.roles["x"])
    assert encoder.normalize(numbers)[:, 1].abs().max() <= 1e-6 * max(1.0, abs(constant))
    assert encoder.normalize(numbers)[:, [0, 2]].std(0, correction=0).tolist() == pytest.approx([1, 1], rel=1e-4)
    assert encoder.normalize(numbers + 1)[:, 1].tolist() == pytest.approx([1.0] * 600, abs=1e-5 * max(1.0, abs(constant)))
    assert channels_of(data)["x"]["constant"] == 1


def test_inspect_counts_columns_that_say_nothing(command, tmp_path):
    sp.save_npz(tmp_path / "bags.npz", sp.hstack([texts()[0], sp.csr_matrix((90, 2))]))
    status, out, _ = command("inspect", tmp_path / "bags.npz", "--json", "--method", "autoencoder")
    told = json.loads(out)
    assert status == 0 and told["channels"]["x"]["constant"] == 2 and told["channels"]["x"]["modality"] == "counts"
    assert any("2 of the 14 columns are the same" in line for line in told["advice"]["cautions"])


# ---- views


def test_views_leave_out_words_with_all_their_counts_and_never_all_of_a_text():
    counts = torch.randint(0, 4, (200, 50), generator=torch.Generator().manual_seed(0)).float()
    counts[0] = 0
    counts[0, 3] = 2.0
    first, second = (view.counts for view in CountViews(drop=0.5)(Counts(counts), Draw(0)))
    for view in (first, second):
        assert ((view == counts) | (view == 0)).all() and view.any(1).all()
        assert (view[1:] > 0).sum() / (counts[1:] > 0).sum() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(first, second)
    assert torch.equal(first[0], counts[0])
    (alone,) = CountViews(count=1, drop=0)(Counts(counts), Draw(0))
    assert torch.equal(alone.counts, counts)


def test_a_part_of_a_batch_sees_the_views_of_the_whole():
    counts = torch.randint(0, 4, (8, 6), generator=torch.Generator().manual_seed(1)).float() + 1
    whole = CountViews()(Counts(counts), Draw(3))
    parts = [CountViews()(Counts(counts[4 * part : 4 * part + 4]), Draw(3, part=part, parts=2)) for part in range(2)]
    for view in range(2):
        assert torch.equal(whole[view].counts, torch.cat([part[view].counts for part in parts]))


# ---- likelihood


def test_the_multinomial_likelihood_is_that_of_the_words_in_their_order():
    likelihood = Multinomial(InputSpec("counts", (3,), (1.0, 2.0, 3.0), (1.0, 1.0, 1.0)))
    outputs = torch.randn(1, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sequences = list(itertools.product(range(3), repeat=4))
    counts = torch.tensor([[sequence.count(word) for word in range(3)] for sequence in sequences], dtype=torch.float64)
    nats = likelihood.log_prob(outputs.expand(len(counts), -1, -1), counts)
    assert nats.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    shares = outputs.flatten().softmax(0)
    assert nats.tolist() == pytest.approx([sum(math.log(shares[word]) for word in sequence) for sequence in sequences], abs=1e-12)
    different = counts.unique(dim=0)
    scipys = torch.distributions.Multinomial(4, shares, validate_args=False).log_prob(different)
    orders = torch.tensor([math.log(math.factorial(4) / math.prod(math.factorial(int(n)) for n in row)) for row in different], dtype=torch.float64)
    assert torch.allclose(likelihood.log_prob(outputs.expand(len(different), -1, -1), different) + orders, scipys)


def test_the_chance_of_counts_is_their_mean_number_times_the_nats_of_a_word():
    counts = open_data(MATRIX).rows["x"].counts
    likelihood = Multinomial(data_spec().roles["x"])
    nothing = likelihood.log_prob(torch.zeros(3, 4, 1), counts)
    assert likelihood.chance == pytest.approx(-nothing.mean().item())
    assert likelihood.chance == pytest.approx(9.5 / 3 * math.log(4))


def test_the_mean_is_shares_and_a_sample_has_the_mean_length_and_these_shares():
    likelihood = Multinomial(InputSpec("counts", (3,), (20.0, 10.0, 10.0), (1.0, 1.0, 1.0)))
    shares = torch.tensor([0.5, 0.2, 0.3])
    outputs = shares.log()[None, :, None].expand(5000, -1, -1)
    assert likelihood.mean(outputs)[0].tolist() == pytest.approx(shares.tolist())
    drawn = likelihood.sample(outputs, Draw(0))
    assert (drawn.sum(1) == 40).all() and (drawn == drawn.round()).all()
    assert drawn.mean(0).tolist() == pytest.approx((40 * shares).tolist(), abs=4 * math.sqrt(40 * 0.25 / 5000))
    assert drawn.var(0).tolist() == pytest.approx((40 * shares * (1 - shares)).tolist(), rel=0.1)


def test_unexplained_is_1_at_the_shares_over_all_texts_and_0_at_each_text_s_own():
    counts = torch.tensor([[4.0, 0.0, 1.0], [1.0, 2.0, 2.0], [0.0, 6.0, 1.0]])
    likelihood = Multinomial(InputSpec("counts", (3,), (2.0, 3.0, 1.0), (1.0, 1.0, 1.0)))
    overall = (counts.sum(0) / counts.sum()).log()[None, :, None].expand(3, -1, -1)
    assert likelihood.unexplained(overall, counts) == pytest.approx(1.0, abs=1e-5)
    own = (counts / counts.sum(1, keepdim=True)).clamp(min=1e-30).log()[..., None]
    assert likelihood.unexplained(own, counts) == pytest.approx(0.0, abs=1e-5)


def test_counts_are_chosen_a_multinomial_likelihood_and_nothing_else():
    spec = data_spec().roles["x"]
    assert choose_likelihood("auto", spec).name == choose_likelihood("multinomial", spec).name == "multinomial"
    with pytest.raises(UserError, match="gaussian likelihood does not fit counts data: choose multinomial"):
        choose_likelihood("gaussian", spec)
    with pytest.raises(UserError, match="multinomial likelihood does not fit vector data: choose bernoulli, gaussian"):
        choose_likelihood("multinomial", InputSpec("vector", (3,), (0.0,) * 3, (1.0,) * 3))


# ---- replicated softmax


def words_machine(words=3, hidden=2, length=3):
    torch.manual_seed(0)
    machine = Boltzmann(torch.nn.Linear(words, hidden), Words(length), Binary()).double()
    for parameter in machine.parameters():
        torch.nn.init.normal_(parameter)
    return machine


def energies(machine, length=3):
    """(sequences, hidden states) energies of all sequences of words and all hidden states, and the sequences' counts."""
    words, hidden = machine.layer.in_features, machine.layer.out_features
    sequences = torch.tensor(list(itertools.product(range(words), repeat=length)))
    counts = torch.nn.functional.one_hot(sequences, words).sum(1).double()
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=hidden)), dtype=torch.float64)
    energy = -(counts @ machine.visible_bias)[:, None] - (states @ machine.layer.bias)[None] - counts @ machine.layer.weight.T @ states.T
    return energy, counts, states


def test_free_energies_of_a_replicated_softmax_are_sums_over_all_states():
    machine = words_machine()
    energy, counts, states = energies(machine)
    assert torch.allclose(machine.free_energy(counts), -(-energy).logsumexp(1))
    assert torch.allclose(machine.hidden_free_energy(states), -(-energy).logsumexp(0))
    exact = (-energy).logsumexp((0, 1)).item()
    assert machine.log_partition(Draw(0), 10, 10).value == pytest.approx(exact, abs=1e-9)
    found = machine.anneal(Draw(1), 400, 300)
    assert found.value == pytest.approx(exact, abs=max(4 * found.error, 1e-3))


def test_words_given_the_hidden_units_are_those_of_the_joint_distribution():
    machine = words_machine()
    energy, counts, states = energies(machine)
    given = (-energy).softmax(0)
    field = machine.visible_field(states)
    assert torch.allclose(machine.visible.mean(field), given.T @ counts)
    for number, state in enumerate(states):
        nats = machine.visible.log_prob(counts, machine.visible_field(state[None]).expand(len(counts), -1))
        assert torch.allclose(nats.exp(), given[:, number])
    noise = machine.visible.noise(Draw(0), 4000, len(field[0])).double()
    drawn = machine.visible.sample(field[:1].expand(4000, -1), noise)
    assert (drawn.sum(1) == 3).all()
    assert torch.allclose(drawn.mean(0), machine.visible.mean(field[0]), atol=4 * 0.9 / math.sqrt(4000))


def test_texts_of_any_length_are_brought_to_one_and_rest_at_their_shares():
    units, counts = Words(6), torch.tensor([[1.0, 2.0, 0.0], [10.0, 0.0, 10.0]])
    observed = units.observe(counts, Draw(0))
    assert observed.tolist() == [[2, 4, 0], [3, 0, 3]]
    assert units.mean(units.resting(1000 * observed.sum(0), 2000)).tolist() == pytest.approx([2.5, 2.0, 1.5], abs=0.01)
    encoder = build_encoder("dense", InputSpec("counts", (3,), (1.0, 2.0, 3.0), (1.0, 1.0, 1.0)), {"widths": (2,), "raw": True})
    assert torch.equal(encoder.values(Counts(counts)), observed)


def test_an_unrolled_deep_autoencoder_begins_as_its_machines_read_downwards():
    data = open_data(texts())
    method, _ = build_method(find_method("deep_autoencoder"), data.spec, settings={"widths": (6, 2)})
    for machine in method.machines:
        torch.nn.init.normal_(machine.visible_bias)
    method.unroll(None)
    codes = torch.randn(5, 2)
    first, second = method.machines
    field = first.visible_field(second.visible.mean(second.visible_field(codes)))
    assert torch.allclose(method.likelihood.mean(method.decoder(codes)), field.softmax(1), atol=1e-6)


# ---- encoders, features, methods


def test_encoders_read_counts_as_square_roots_of_shares():
    encoder = build_encoder("dense", data_spec().roles["x"])
    value = open_data(MATRIX).rows["x"]
    values = encoder.values(value)
    assert torch.allclose(values, (4 * value.shares()).sqrt())
    assert values.square().mean(1).tolist() == pytest.approx([1.0] * 3)
    assert torch.allclose(encoder.from_values(values).counts, 3 * value.shares(), atol=1e-6)  # 9.5 counts in 3 texts
    assert torch.equal(encoder(value), encoder(value.counts)) and encoder(Counts(torch.zeros(1, 4))).isfinite().all()


def test_raw_counts_are_tf_idf_of_the_training_part_alone(monkeypatch):
    matrix, labels = texts()
    data = open_data((matrix, labels))
    train, test = torch.arange(50), torch.arange(50, 90)
    expected = TfidfTransformer().fit(matrix[:50]).transform(matrix[50:]).toarray()
    assert np.allclose(modality_of(data.rows["x"]).raw_features(data.rows["x"], train)(data.rows["x"].take(test)), expected, atol=1e-6)
    monkeypatch.setattr("leaven.modalities.counts.MOST_WORDS", 5)
    most = np.sort(np.argsort(-(matrix[:50] > 0).sum(0).A1, kind="stable")[:5])
    assert np.allclose(modality_of(data.rows["x"]).raw_features(data.rows["x"], train)(data.rows["x"].take(test)), expected[:, most], atol=1e-6)


@pytest.mark.parametrize("noise", ["gaussian", "salt_and_pepper"])
def test_counts_are_corrupted_by_hiding_words_alone(noise):
    encoder = build_encoder("dense", data_spec().roles["x"])
    with pytest.raises(UserError, match=f"{noise} noise does not fit counts data: use --set noise=mask"):
        build_method(find_method("denoising_autoencoder"), data_spec(), {"x": encoder}, {"noise": noise})
    method, _ = build_method(find_method("denoising_autoencoder"), data_spec(), {"x": encoder}, {"amount": 0.5})
    rows = open_data(sp.csr_matrix(np.ones((400, 4)))).rows
    views = method.views(rows, Draw(0))
    assert (views["target"] == 1).all() and views["x"].counts.mean().item() == pytest.approx(0.5, abs=0.06)


SMALL = {
    "autoencoder": {"code": 3, "encoder.width": 16},
    "denoising_autoencoder": {"code": 3, "encoder.width": 16},
    "sparse_autoencoder": {"code": 8, "encoder.width": 16},
    "deep_autoencoder": {"widths": (12, 3), "recipe.optimizer": "adamw"},
    "stacked_autoencoder": {"widths": (12, 3)},
    "vae": {"code": 3, "encoder.width": 16},
    "simclr": {"encoder.width": 16},
}


@pytest.mark.parametrize("method", SMALL)
def test_methods_learn_the_kinds_of_texts(method, tmp_path):
    settings = {"recipe.lr": 0.03, "recipe.warmup": 0.0} | SMALL[method]
    run = leaven.pretrain(texts(), method=method, steps=150, batch=30, out=tmp_path / "run", settings=settings, precision="fp32")
    chance = 20 * math.log(12)
    if method != "simclr":
        assert run.metrics[-1]["loss"] < 0.97 * chance
    found = leaven.evaluate(run, texts(), protocols=("retrieval",), report=False)
    assert found.scores["retrieval"]["map"] > 0.6
    assert set(found.floors) == {"input", "untrained"} | (set() if method == "simclr" else {f"lsa {leaven.load(run).dim}"})


def test_every_command_takes_counts(tmp_path, command):
    matrix, labels = texts(empty=[7])
    sp.save_npz(tmp_path / "bags.npz", matrix)
    with open(tmp_path / "labels.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["file", "label"], *([row, label] for row, label in enumerate(labels))])
    run, bag, numbers = tmp_path / "run", tmp_path / "bags.npz", ("--labels", tmp_path / "labels.csv")

    def answered(*words):
        status, out, told = command(*words, "--json")
        assert status == 0, told
        return json.loads(out)

    assert answered("pretrain", bag, "--method", "vae", "--set", "code=3", "--steps", "30", "--out", run)["method"] == "vae"
    card = answered("evaluate", run, bag, *numbers, "--protocol", "retrieval,knn")
    assert {"knn", "retrieval"} == set(card["scores"]) and "lsa 3" in card["floors"]
    assert 0 < card["floors"]["input"]["retrieval"]["map"] <= 1 and "Search by features" in (run / "report.html").read_text()
    assert answered("embed", run, bag, "--out", tmp_path / "codes.npy") == {"out": str(tmp_path / "codes.npy"), "count": 89, "dim": 3}
    assert len(answered("search", run, bag, "--query", "17", "-k", "4")["neighbours"]) == 4
    rebuilt = answered("reconstruct", run, bag, "--out", tmp_path / "shares.npy")
    assert rebuilt["squared_error"] < rebuilt["of_the_mean"] * 1.2
    assert np.allclose(np.load(tmp_path / "shares.npy").sum(1), 1, atol=1e-4)
    scored = answered("score", run, bag)
    assert scored["samples"] == 89 and -20 * math.log(12) * 1.2 < scored["nats"] < 0
    made = answered("sample", run, "--out", tmp_path / "new.npy", "-n", "5")
    assert made["shape"] == [12] and (np.load(tmp_path / "new.npy").sum(1) == 20).all()
    answered("interpolate", run, "0", "1", "--data", bag, "--out", tmp_path / "way.npy", "--steps", "3")
    answered("export", run, "--to", "safetensors", "--out", tmp_path / "exported")
