"""Leaven as a scikit-learn transformer: pre-train in `fit`, features in `transform`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from leaven.api import options
from leaven.console import seconds
from leaven.data import open_data
from leaven.encoders import Encoder
from leaven.encoders.store import load_encoder, save_encoder
from leaven.errors import Interrupted, UserError
from leaven.evaluation.features import check_input, encode
from leaven.inspection.advice import choose_method
from leaven.modalities import Pixels
from leaven.modalities.content import evenly_spaced
from leaven.modalities.decoding import Reading, decode, survey
from leaven.modalities.picture_files import Unusable
from leaven.run import Run
from leaven.training.build import DEFAULT_EPOCHS
from leaven.training.devices import choose_device
from leaven.training.pretraining import train
from leaven.training.request import Request
from leaven.training.trained import load_encoder_of


@options.documented
@dataclass(eq=False, repr=False)
class EncoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features from an encoder that learns from X without labels.

    `fit(X)` pre-trains on X; with a finished `run` it takes that run's encoder and only checks that X fits. y is ignored.
    `transform(X)` gives (samples, dim) float32. X: (N, D) numbers; (N, H, W), (N, H, W, C) or (N, C, H, W) pictures, uint8 or float 0-1; a list
    of picture files; or a folder or file as on the command line.

    Length: at most one of steps, epochs and budget ("90s", "10m"); none is 100 epochs. Two fits are the same, except with a budget.

    Attributes after `fit`: encoder_ (nn.Module, raw input -> features), health_ (verdicts of the training), n_features_in_ and feature_names_in_
    (numbers only). Raises ValueError for arrays that scikit-learn would refuse, else UserError; TrainingStopped when training is useless.
    """

    run: Annotated[options.RunFolder | None, "A finished run, whose encoder is taken as it is."] = None
    _: KW_ONLY
    method: options.MethodName = "auto"
    encoder: options.EncoderName = "auto"
    steps: options.Steps = None
    epochs: options.Epochs = None
    budget: options.Budget = None
    batch: options.Batch = None
    size: options.Size = None
    settings: options.Settings = None
    seed: options.Seed = 0
    precision: options.Precision = "auto"
    device: options.Device = "auto"
    role: options.Role = None
    encoder_: Encoder = field(init=False)
    health_: list[dict[str, Any]] = field(init=False)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Pre-train on X, or check that X fits the run."""
        needs = {"size": self.size} if self.run is None else needs_of(load_encoder_of(self.run, self.role))
        data = open_data(self._samples(X, needs, fitting=True), **needs)
        if self.run is not None:
            self.encoder_, self.health_ = load_encoder_of(self.run, self.role), []
            check_input(self.encoder_, data.spec.roles["x"])
        else:
            length = self.steps, self.epochs, self.budget
            epochs = DEFAULT_EPOCHS if length == (None, None, None) else self.epochs
            method = choose_method(data.spec, self.encoder)[0] if self.method == "auto" else self.method
            request = Request(
                method=method, encoder=self.encoder, budget=seconds(self.budget), epochs=epochs, steps=self.steps, batch=self.batch,
                size=self.size, settings=dict(self.settings or {}), seed=self.seed, precision=self.precision, device=self.device,
            )  # fmt: skip
            with tempfile.TemporaryDirectory(prefix="leaven-") as folder:
                try:
                    run = train(request, data, Run(Path(folder) / "run"))
                except Interrupted:  # a search over settings would take it for one failed fit, and go on
                    raise KeyboardInterrupt from None
                self.encoder_, self.health_ = load_encoder_of(run), run.health
        self._n_features_out = self.encoder_.dim
        return self

    def transform(self, X: Any) -> np.ndarray:
        """(samples, dim) float32 features, a row for each sample of X in its order."""
        check_is_fitted(self)
        needs = needs_of(self.encoder_)
        data = open_data(self._samples(X, needs, fitting=False), **needs)
        if data.broken:
            raise UserError(f"this picture cannot be read: {data.broken[0].why}", where=data.broken[0].file, hint="leave it out")
        check_input(self.encoder_, data.spec.roles["x"])
        return encode(self.encoder_, data.rows["x"], torch.arange(len(data)), device=choose_device(self.device)).numpy()

    def _samples(self, X: Any, needs: Mapping[str, Any], *, fitting: bool) -> Any:
        """X as `open_data` takes it: numbers validated as scikit-learn does, lists of files decoded."""
        if isinstance(X, str | os.PathLike):
            return X
        if not hasattr(X, "ndim"):
            X = np.asarray(X)
        if X.ndim == 1 and len(X) and all(isinstance(item, str | os.PathLike) for item in X):
            return decoded([Path(item) for item in X], **needs)
        if X.ndim > 2:
            return X if isinstance(X, torch.Tensor) else np.asarray(X)
        least = 2 if fitting and self.run is None else 1
        return validate_data(self, X, reset=fitting, dtype=np.float32, ensure_min_samples=least)

    def __getstate__(self) -> dict[str, Any]:
        """The encoder travels as its two files, config.json and model.safetensors."""
        state = dict(super().__getstate__())
        if "encoder_" in state:
            with tempfile.TemporaryDirectory(prefix="leaven-") as folder:
                save_encoder(Path(folder), self.encoder_)
                state["encoder_"] = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "encoder_" in state:
            with tempfile.TemporaryDirectory(prefix="leaven-") as folder:
                for name, content in state["encoder_"].items():
                    (Path(folder) / name).write_bytes(content)
                state = {**state, "encoder_": load_encoder(Path(folder))}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        tags.non_deterministic = self.budget is not None
        return tags


def needs_of(encoder: Encoder) -> dict[str, Any]:
    """How samples must be opened for an encoder."""
    return encoder.modality.open_options(encoder.input)


def decoded(files: Sequence[Path], *, size: int | None = None, channels: int | None = None, reading: Mapping[str, Any] | None = None) -> Pixels:
    """Pictures in the order of their files. Raises UserError at the first that cannot be read."""
    form, _ = survey(files, size, channels, Reading.of(reading or {}), lambda most: [files[row] for row in evenly_spaced(len(files), most)])
    pictures = np.empty((len(files), *form.shape), form.dtype)
    for row, file in enumerate(files):
        try:
            pictures[row] = decode(file, form)
        except Unusable as error:
            raise UserError(f"this picture cannot be read: {error}", where=file, hint="leave it out") from None
    return Pixels(torch.from_numpy(pictures), form.reading.to_dict())
