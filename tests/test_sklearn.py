"""The scikit-learn transformer keeps scikit-learn's contract, and gives what Leaven gives."""

import copy
import inspect
import pickle
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import leaven
import leaven.sklearn
from leaven.errors import Interrupted
from leaven.sklearn import EncoderTransformer

TINY = {"encoder.width": 16, "projector": (16, 8)}
TINY_PICTURES = {"encoder.width": 8, "encoder.features": 32, "projector": (16, 8)}
DIGITS, NAMES = load_digits(return_X_y=True)
DIGITS = (DIGITS.reshape(-1, 8, 8) * 15.9375).round().astype(np.uint8)
WINES = load_wine().data


def quick(**parameters):
    return EncoderTransformer(**{"steps": 2, "batch": 64, "settings": TINY_PICTURES, **parameters})


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    return leaven.pretrain(DIGITS[:200], steps=2, batch=64, out=tmp_path_factory.mktemp("digits") / "run", settings=TINY_PICTURES)


@parametrize_with_checks([EncoderTransformer(steps=2, settings=TINY)])
def test_scikit_learns_own_checks_pass_on_numbers(estimator, check):
    check(estimator)


def test_parameters_are_declared_as_those_of_pretrain():
    ours, theirs = inspect.signature(EncoderTransformer).parameters, inspect.signature(leaven.pretrain).parameters
    shared = set(ours) - {"run", "role"}
    assert shared < set(theirs)
    assert {name: (ours[name].annotation, ours[name].default) for name in shared} == {
        name: (theirs[name].annotation, theirs[name].default) for name in shared
    }
    assert "temperature" not in EncoderTransformer.__doc__ and "settings: A hyper-parameter" in EncoderTransformer.__doc__


def test_a_grid_search_tunes_pretraining_inside_a_pipeline():
    pipeline = Pipeline([("encoder", quick()), ("classifier", LogisticRegression(max_iter=300))])
    grid = {"encoder__steps": [1, 30], "encoder__settings": [TINY_PICTURES, {**TINY_PICTURES, "temperature": 0.5}]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(DIGITS[:300], NAMES[:300])
    assert len(search.cv_results_["params"]) == 4
    assert len(set(search.cv_results_["mean_test_score"])) > 1  # the settings reach the training
    assert search.best_score_ > 0.6
    assert search.best_estimator_.predict(DIGITS[300:310]).shape == (10,)


def test_a_clone_has_the_parameters_and_nothing_that_was_learned():
    fitted = quick(seed=3).fit(DIGITS[:100])
    again = clone(fitted)
    assert again.get_params() == fitted.get_params() and again.settings == TINY_PICTURES
    assert not hasattr(again, "encoder_")
    assert again.set_params(steps=5, method="byol").get_params()["method"] == "byol"


def test_a_pickle_carries_the_weights_as_bytes_and_gives_the_same_features_elsewhere(tmp_path):
    fitted = quick().fit(DIGITS[:100])
    kept = fitted.__getstate__()["encoder_"]
    assert kept.keys() == {"config.json", "model.safetensors"} and all(type(content) is bytes for content in kept.values())
    assert isinstance(fitted.encoder_, torch.nn.Module)
    features = fitted.transform(DIGITS[:5])
    assert np.array_equal(copy.deepcopy(fitted).transform(DIGITS[:5]), features)
    (tmp_path / "fitted.pickle").write_bytes(pickle.dumps(fitted))
    np.savez(tmp_path / "known.npz", pictures=DIGITS[:5], features=features)
    script = (
        "import pickle, numpy as np; known = np.load('known.npz'); fitted = pickle.load(open('fitted.pickle', 'rb'));"
        "assert np.allclose(fitted.transform(known['pictures']), known['features'], atol=1e-6)"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr[-2000:]


def test_every_layout_of_pictures_gives_the_same_features():
    fitted = quick().fit(DIGITS[:100])
    pictures = DIGITS[:20]
    features = fitted.transform(pictures)
    assert features.shape == (20, 32) and features.dtype == np.float32
    for same in (pictures[..., None], pictures[:, None], torch.from_numpy(pictures), list(pictures)):
        assert np.array_equal(fitted.transform(same), features)
    for near in (pictures / 255, pictures[:, None].repeat(3, axis=1)):  # floats in 0-1; grey in three channels
        assert np.allclose(fitted.transform(near), features, atol=0.1)
    assert fitted.transform(pictures.repeat(2, axis=1).repeat(2, axis=2)).shape == (20, 32)  # a larger size is brought to the encoder's


def test_files_give_the_features_of_their_pictures_in_their_order(tmp_path):
    files = [tmp_path / "data" / f"{number}.png" for number in range(12)]
    (tmp_path / "data").mkdir()
    for file, picture in zip(files, DIGITS, strict=False):
        Image.fromarray(picture).save(file)
    fitted = quick(batch=12).fit([str(file) for file in files])
    features = fitted.transform(DIGITS[:12])
    assert np.array_equal(fitted.transform(files[::-1]), features[::-1])
    assert np.allclose(fitted.transform(np.array([str(file) for file in files])[[3, 3]]), features[[3, 3]], atol=1e-6)
    assert np.allclose(fitted.transform(pd.Series([str(files[4])])), features[[4]], atol=1e-6)
    alphabetic = [int(file.stem) for file in sorted(files)]
    assert np.array_equal(fitted.transform(tmp_path / "data"), features[alphabetic])
    assert np.array_equal(quick(batch=12).fit(tmp_path / "data").transform(tmp_path / "data").shape, (12, 32))
    files[7].write_bytes(b"no picture")
    for broken in (files, tmp_path / "data"):
        with pytest.raises(leaven.UserError, match=r"7\.png"):
            fitted.transform(broken)


def test_a_finished_run_is_taken_as_it_is(digits_run, monkeypatch):
    monkeypatch.setattr(leaven.sklearn, "train", None)
    fitted = EncoderTransformer(digits_run.path).fit(DIGITS[:1])
    assert np.allclose(fitted.transform(DIGITS[:30]), leaven.embed(digits_run, DIGITS[:30]), atol=1e-6)
    with pytest.raises(leaven.UserError, match="this encoder reads pixels, and the data is vector"):
        EncoderTransformer(digits_run).fit(WINES)
    with pytest.raises(leaven.UserError, match="no run here"):
        EncoderTransformer("nowhere").fit(DIGITS[:10])


def test_numbers_keep_their_names_and_their_count():
    table = load_wine(as_frame=True).data
    fitted = quick(settings=TINY).set_output(transform="pandas").fit(table)
    features = fitted.transform(table)
    assert fitted.n_features_in_ == 13 and list(fitted.feature_names_in_) == list(table.columns)
    assert list(features.columns) == list(fitted.get_feature_names_out()) == [f"encodertransformer{number}" for number in range(16)]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(table.iloc[:, :5])
    with pytest.raises(leaven.UserError, match="this encoder reads vector, and the data is pixels"):
        fitted.transform(DIGITS[:5])


def test_labels_are_never_looked_at_and_the_seed_decides():
    first, with_labels, other = (quick(seed=seed).fit(DIGITS[:100], y).transform(DIGITS[:5]) for seed, y in ((0, None), (0, NAMES[:100]), (1, None)))
    assert np.array_equal(first, with_labels)
    assert not np.allclose(first, other)


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pickle.loads(pickle.dumps(quick().fit(DIGITS[:100])))
    assert not list(tmp_path.iterdir())


def test_no_length_is_a_hundred_epochs_and_one_length_is_enough(monkeypatch):
    asked = []

    def stop(request, *_):
        asked.append((request.steps, request.epochs, request.budget))
        raise Interrupted

    monkeypatch.setattr(leaven.sklearn, "train", stop)
    for length in ({}, {"steps": 5}, {"epochs": 2.0}, {"budget": "10s"}):
        with pytest.raises(KeyboardInterrupt):  # which a grid search does not take for a failed fit
            EncoderTransformer(**length).fit(WINES)
    assert asked == [(None, 100, None), (5, None, None), (None, 2.0, None), (None, None, 10.0)]


def test_two_lengths_and_unknown_settings_are_refused():
    with pytest.raises(leaven.UserError, match="give one of"):
        quick(epochs=1).fit(DIGITS[:100])
    with pytest.raises(leaven.UserError, match="simclr has no setting 'temprature'"):
        quick(settings={"temprature": 1}).fit(DIGITS[:100])
