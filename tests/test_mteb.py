"""What mteb measures of a run is what Leaven's own vectors give."""

import importlib
import sys

import numpy as np
import pytest
from scipy.stats import spearmanr

import leaven

SENTENCES = [
    f"{who} {does} {what}" for who in ("a cat", "the dog", "one bird") for does in ("sees", "likes") for what in ("the sea", "a tree", "my house")
]
OTHERS = SENTENCES[5:] + SENTENCES[:5]
GOLD = [float(7 * place % 18) for place in range(18)]
SMALL = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2}


@pytest.fixture(scope="module")
def mteb():
    """Imported by the tests that need it: it takes seconds."""
    return pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def encoder_of(mteb):
    return importlib.import_module("leaven.mteb").MtebEncoder


@pytest.fixture(scope="module")
def tasks(mteb):
    """Scored pairs, and three classes of sentences."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskClassification, AbsTaskSTS

    def told(kind, name, score):
        source = {"path": "none", "revision": "none"}
        return mteb.TaskMetadata(name=name, description="made here", type=kind, dataset=source, eval_langs=["eng-Latn"], main_score=score)

    class Pairs(AbsTaskSTS):
        metadata = told("STS", "Pairs", "cosine_spearman")

        def load_data(self, *_, **__):
            pairs = {"sentence1": SENTENCES, "sentence2": OTHERS, "score": GOLD}
            self.dataset, self.data_loaded = DatasetDict(test=Dataset.from_dict(pairs)), True

    class Animals(AbsTaskClassification):
        metadata = told("Classification", "Animals", "accuracy")
        samples_per_label, n_experiments = 4, 2

        def load_data(self, *_, **__):
            rows = Dataset.from_dict({"text": SENTENCES, "label": [place // 6 for place in range(18)]})
            self.dataset, self.data_loaded = DatasetDict(train=rows, test=rows), True

    return Pairs(), Animals()


def pretrained(folder, **options):
    return leaven.pretrain(SENTENCES, **{"method": "simcse", "steps": 3, "batch": 8, "settings": SMALL, "report": False, "out": folder, **options})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return pretrained(tmp_path_factory.mktemp("runs") / "sentences")


def spearman(run):
    a, b = leaven.embed(run, SENTENCES), leaven.embed(run, OTHERS)
    return spearmanr((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1), GOLD).statistic


def test_mteb_scores_a_run_as_its_own_vectors_do_and_gives_no_run_the_scores_of_another(mteb, encoder_of, tasks, run, tmp_path):
    other = pretrained(tmp_path / "sentences", seed=1)
    cache, found = mteb.ResultCache(tmp_path / "cache"), {}
    for each in (run, other, run):
        result = mteb.evaluate(encoder_of(str(each.path)), tasks=[tasks[0]], cache=cache, show_progress_bar=False)
        (score,) = result.task_results[0].scores["test"]
        expected = pytest.approx(spearman(each), abs=1e-6)
        assert score["main_score"] == expected and score["spearman"] == expected
        found[each] = result
    assert [result.model_name for result in found.values()] == ["leaven/sentences"] * 2
    assert len({result.model_revision for result in found.values()}) == 2 and spearman(run) != pytest.approx(spearman(other), abs=1e-3)


def test_classes_are_told_by_mtebs_own_probe(encoder_of, tasks, run):
    assert 1 / 3 < tasks[1].evaluate(encoder_of(run), encode_kwargs={})["default"]["main_score"] <= 1


@pytest.mark.parametrize("method", ["simcse", "word2vec"])
def test_an_empty_text_has_a_row_of_its_own(encoder_of, tmp_path, method):
    made = pretrained(tmp_path / method, method=method, settings=SMALL if method == "simcse" else {"encoder.width": 16}, keep_going=True)
    vectors = encoder_of(made).encode([{"text": ["a cat", ""]}, {"text": ["the dog"]}])
    assert vectors.shape == (3, 16) and np.isfinite(vectors).all() and (method == "simcse" or not vectors[1].any())
    assert np.allclose(vectors[[0, 2]], leaven.embed(made, ["a cat", "the dog"]), atol=1e-6)


def test_a_run_of_pictures_is_refused(encoder_of, tmp_path):
    settings = {"encoder.width": 8, "encoder.features": 16, "projector": (16, 8)}
    pictures = np.random.default_rng(0).integers(256, size=(32, 3, 16, 16), dtype=np.uint8)
    made = leaven.pretrain(pictures, steps=1, batch=16, out=tmp_path / "run", settings=settings, keep_going=True, report=False)
    with pytest.raises(leaven.UserError, match=r"reads pixels.*give a run of text"):
        encoder_of(made)


def test_a_missing_mteb_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mteb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.delitem(sys.modules, "leaven.mteb", raising=False)
    with pytest.raises(leaven.UserError, match=r"mteb is not installed.*pip install"):
        importlib.import_module("leaven.mteb")
