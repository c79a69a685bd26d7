"""The contract between one kind of data and everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leaven.errors import UserError, unknown_name
from leaven.modalities.content import tensor_bytes
from leaven.modalities.floor import INPUT
from leaven.modalities.geometry import Geometry
from leaven.modalities.spec import InputSpec
from leaven.modalities.value import Value

MODALITIES: dict[str, Modality] = {}
"""Every modality by its name; each registers itself by being defined."""


class DefaultEncoder(NamedTuple):
    """A line of the table behind `--encoder auto`; the first that fits is taken.

    name: of the encoder. reason: why, for the user. wants: what the method asks of it, or several such things ("any": whatever that is).
    device: "cpu", "cuda" or "any". largest: side of the largest pictures that it suits.
    """

    name: str
    reason: str
    wants: str | tuple[str, ...] = "any"
    device: str = "any"
    largest: int = 10_000


TOKENS = "tokens", "patches"
"""Wishes of methods for transformers."""


class PublicModel(NamedTuple):
    """A usual model with public weights, to compare with. name: as --beside takes it. device: where it is usual, "cpu", "cuda" or "any"."""

    name: str
    device: str = "any"


class Floor(NamedTuple):
    """What any encoder should beat: features that cost no training. what: its name for people. fit: learns from the training samples and returns what
    gives samples their features, (samples, dim). probe: what learns classes from them where they are usually read by something else than a linear
    probe: "forest", a random forest (None: what learns from the encoder's features)."""

    what: str
    fit: Callable[[], Callable[[Value], Any]]
    probe: str | None = None


class Topography(NamedTuple):
    """Numbers that were measured in places of a head. places: (to the right, to the nose) of each channel. columns: what the numbers are, by name.
    numbers: of each sample. unit: of the numbers."""

    places: Sequence[tuple[float, float]]
    columns: Sequence[str]
    numbers: Float[Tensor, "samples columns channels"]
    unit: str


class Modality:
    """One kind of data: all that only this kind knows. Everything above asks it, and nobody asks which one it is.

    A subclass with a `name` registers itself. What it does not say is what plain numbers do.
    """

    name: ClassVar[str]
    noun: ClassVar[str] = "sample"
    plural: ClassVar[str] = "samples"
    """What one sample, and several, are called in messages."""
    values: ClassVar[tuple[type[Value], ...]]
    """The types of its values; data sets hold the first."""
    axes: ClassVar[int] = 1
    """How many sizes the shape of a sample has where an encoder reads it."""
    target: ClassVar[bool] = False
    """Whether samples are what is to be predicted, and not what is read."""
    role_names: ClassVar[tuple[str, ...]] = ()
    """What roles are called that plainly hold its samples."""
    placed: ClassVar[bool] = False
    """Whether samples lie in the pictures beside them, and move along when these are cut or turned."""

    encoders: ClassVar[tuple[DefaultEncoder, ...]] = ()
    library: ClassVar[str] = ""
    """Whose models `--encoder NAME` may name: "timm" or "transformers"."""
    public_models: ClassVar[tuple[PublicModel, ...]] = ()
    """The usual ones, in the order in which they are named."""
    tokenized: ClassVar[bool] = False
    """Whether networks read its samples in tokens, by a tokeniser."""
    method: ClassVar[tuple[str, str]] = ("simclr", "it learns from any kind of data")
    """The method behind `--method auto`, and why."""
    encoder_method: ClassVar[tuple[str, str] | None] = None
    """The same where the user asks for an encoder, if the usual method reads by one of its own kind alone."""
    pair_method: ClassVar[tuple[str, str] | None] = None
    """The same for pairs of samples that mean the same, where one is usual."""
    views: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Purpose -> the kind of views and their settings: "contrast" and "plain", and where they differ from these "byol", "multicrop" (several views),
    "reconstruction" and "labels" (one view)."""

    likelihoods: ClassVar[tuple[str, ...]] = ()
    """Which likelihoods a model of such samples may have."""
    bounded: ClassVar[bool] = False
    """Whether its numbers lie in 0-1."""
    continuous: ClassVar[bool] = False
    """Whether its numbers may be anything within their range, so that noise can be added to them."""
    levels: ClassVar[int | None] = None
    """How many different values each number has, where they are few."""
    visible: ClassVar[bool] = False
    """Whether samples can be shown as pictures."""
    export_name: ClassVar[str] = "numbers"
    """What the input of an exported graph is called."""
    export_format: ClassVar[str] = "float32, (batch, dim)"

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if "name" in cls.__dict__:
            MODALITIES[cls.name] = cls()

    # --- what the samples hold ---

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        """Shape and statistics of one role; statistics are over the samples `train`."""
        return InputSpec(self.name, tuple(value.main.shape[1:]), rate=getattr(value, "rate", None))

    def origins(self, value: Value) -> Tensor | None:
        """(N, 3) float32: the number of the recording of which each sample is a part, and where in it this begins and ends, in seconds; None where
        samples are no parts of anything."""
        return None

    def sample_bytes(self, value: Value) -> Iterable[tuple[bytes, ...]]:
        """The content of each sample, for its hash."""
        return zip(*(tensor_bytes(tensor) for _, tensor in sorted(value.tensors().items())), strict=True)

    def checked(self, value: Value, where: str) -> Value:
        """The value as data sets keep it. Raises UserError for numbers that are no samples of this modality."""
        return value

    def resized(self, value: Value, size: int | None, channels: int | None) -> Value:
        """Samples as they are stored for training at a size, with so many channels (pictures only)."""
        return value

    def resizing(self, value: Value, resized: Value) -> Geometry | None:
        """How `resized` moved what lies in the samples; None where it left everything in its place."""
        return None

    def moved(self, value: Value, geometry: Geometry) -> Value:
        """What belongs to samples that a view moved, moved along (boxes and masks; anything else has no place in a picture)."""
        return value

    def empty(self, value: Value) -> tuple[Bool[Tensor, " samples"], str] | None:
        """Which samples say nothing, and why; None where every sample says something."""
        return None

    def constant(self, value: Value, train: Tensor) -> int:
        """How many dimensions are the same in all of the samples `train`; 0 where dimensions have no meaning of their own."""
        return 0

    def summary(self, value: Value) -> dict[str, Any]:
        """More that `inspect` says of the samples of one role."""
        return {}

    def anomalies(self, value: Value, files: Sequence[str]) -> dict[str, Any]:
        """More that `inspect` says of samples in their order. files: their names."""
        return {}

    def title(self, count: int, described: dict[str, Any]) -> str:
        """So many samples in a few words. described: shape, statistics, `summary` and `anomalies`, as `inspect` gives them."""
        return f"{count:,} {self.noun if count == 1 else self.plural} of {' x '.join(map(str, described['shape']))} numbers"

    def extent(self, spec: InputSpec) -> str:
        """How large one sample is, for people; empty where it has no size."""
        return " x ".join(map(str, spec.shape)) + " numbers" * (not self.visible) if spec.shape else ""

    def cautions(self, described: dict[str, Any], sizes: dict[str, Any] | None) -> list[str]:
        """What a user should know of such samples before training. sizes: of the files, where samples are files (see `Inspection`)."""
        return []

    # --- what an encoder reads ---

    def open_options(self, spec: InputSpec) -> dict[str, Any]:
        """How data must be opened for an encoder of this input: arguments of `open_data`, "size" among them where `--size` sets one."""
        return {"reading": spec.reading} if spec.reading else {}

    def training_input(self, spec: InputSpec, size: int | None) -> InputSpec:
        """What encoders are built for: the stored samples at the training size (None: chosen)."""
        return spec

    def difference(self, spec: InputSpec, wanted: InputSpec) -> str:
        """Why an encoder that reads `wanted` cannot read samples of `spec`, both of this modality; empty where it can."""
        if spec.shape == wanted.shape:
            return ""
        sizes = [" x ".join(map(str, input.shape)) for input in (wanted, spec)]
        return f"this encoder reads {sizes[0]} numbers per sample, and the data has {sizes[1]}"

    def fitted(self, value: Value, shape: tuple[int, ...], rate: float | None = None) -> Value:
        """Samples as an encoder of this input shape takes them. rate: in Hz, of what lies over time (None: their own)."""
        return value

    def untokenized(self, value: Value, tokenizer: Any) -> Value:
        """Samples in tokens as they were before; those of other kinds as they are."""
        return value

    def statistics(self, spec: InputSpec) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation by which an encoder normalises, shaped to fit a batch."""
        channels = spec.shape[0] if spec.shape else 1
        return torch.tensor(spec.mean or (0.0,) * channels).view(1, -1), torch.tensor(spec.std or (1.0,) * channels).view(1, -1)

    def standardized(self, numbers: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Raw numbers (batch, ...) at zero mean and unit deviation: numbers * scale + shift."""
        if numbers.dtype == torch.uint8:
            scale = scale / 255
        return torch.addcmul(shift, numbers.to(scale.dtype), scale)

    # --- numbers in and out of models of the data ---

    def numbers(self, value: Value) -> Float[Tensor, "samples ..."]:
        """As people know them: pixels in 0-1, plain numbers, counts."""
        return value.main.float()

    def of_numbers(self, numbers: Tensor, spec: InputSpec, *, whole: bool = False) -> Value:
        """The inverse of `numbers`, cut to the range that samples have. whole: rounded, where samples hold whole numbers."""
        return self.values[0](numbers)  # type: ignore[call-arg]

    def modeled(self, numbers: Tensor, spec: InputSpec) -> Tensor:
        """Numbers on the scale that a model of the data describes."""
        return numbers

    def of_standardized(self, numbers: Tensor, spec: InputSpec, scale: Tensor, shift: Tensor) -> Value:
        """The inverse of `standardized`."""
        return self.of_numbers((numbers - shift) / scale, spec)

    def compared(self, value: Value) -> Float[Tensor, "samples values"]:
        """What a reconstruction is measured by."""
        return self.numbers(value).flatten(1)

    # --- floors ---

    def raw_features(self, value: Value, train: Tensor) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """What gives samples the input itself as a feature vector. train: the samples that it may learn from."""
        return lambda some: self.numbers(some).flatten(1)

    def order_features(self, value: Value) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """What gives samples the features by which it is measured whether they follow each other in time. value: all that are looked at."""
        return self.raw_features(value, torch.arange(len(value)))

    def floors(self, value: Value, train: Tensor, dim: int, seed: int) -> dict[str, Floor]:
        """What stands beside an encoder with features of `dim` numbers: "input" always, and more by the name of a `FloorName`."""
        return {INPUT.name: Floor(INPUT.phrase, lambda: self.raw_features(value, train))}

    def pair_floors(self, values: tuple[Value, Value], train: Tensor, dim: int, seed: int) -> dict[str, Floor]:
        """The same for pairs of samples, which are compared by cosine; features may be sparse (scipy)."""
        return {}

    def linear_code(self, value: Value, train: Tensor, size: int, seed: int) -> tuple[str, Callable[[Value], Float[Tensor, "samples size"]]]:
        """The best linear code of so many numbers (fewer where input or training part are smaller), its name, and what gives samples their code:
        principal components of the raw features."""
        from sklearn.decomposition import PCA

        raw = self.raw_features(value, train)
        train_features = raw(value[train]).numpy()
        size = min(size, *train_features.shape)
        code = PCA(size, random_state=seed).fit(train_features)
        return f"pca {size}", lambda some: torch.from_numpy(code.transform(raw(some).numpy())).float()

    # --- what people see and type ---

    def usual_models(self, device: str) -> list[str]:
        """The usual public models for a device, as --beside takes them."""
        return [model.name for model in self.public_models if model.device in ("any", "cpu" if device == "cpu" else "cuda")]

    def pictures(self, value: Value) -> Tensor:
        """(samples, channels, height, width), uint8 or float 0-1: samples as pictures. Only where `visible`."""
        raise UserError(f"a sheet shows pictures, and this data is {self.name}", hint="leave the .png out")

    def topography(self, value: Value) -> Topography | None:
        """What samples measured over the head; None where the places of their channels are not known."""
        return None

    def lines(self, value: Value, tokenizer: Any = None) -> list[str] | None:
        """Samples as lines of text; None where they are better not read. tokenizer: of the encoder, where it has one."""
        return None

    def written(self, sample: Value) -> str | None:
        """One sample as it was written; None for kinds that are not."""
        return None

    def in_memory(self, source: Any) -> Any:
        """What a user gives as data, as `open_data` takes it: read as this modality where it could be read as several."""
        return source

    def recognizes(self, query: Any) -> bool:
        """Whether a query is plainly of this modality, where samples of another could be meant."""
        return hasattr(query, "shape")

    def query(self, query: Any, spec: InputSpec) -> tuple[str, Value]:
        """(name, one sample) from what a user asks for: a file, a text or an array of one sample. spec: of the samples that are searched.

        Raises UserError for anything else.
        """
        if isinstance(query, np.ndarray | Tensor):
            return "array", self.checked(self.of_array(torch.as_tensor(query)[None]), "the query")
        raise UserError(f"the data is {self.name}, and a query for it is a row such as #17, or an array in Python", where=query)

    def of_array(self, array: Tensor, rate: float | None = None) -> Value:
        """An array (samples, ...) that a user calls this modality. rate: in Hz, of what lies over time."""
        return self.values[0](array)  # type: ignore[call-arg]

    # --- files ---

    def written_as_pictures(self, spec: InputSpec) -> bool:
        """Whether such samples are written as files of pictures, and not as an array."""
        return False

    def stored(self, value: Value) -> np.ndarray:
        """Samples as an array holds them on disk."""
        return value.main.detach().cpu().float().numpy()

    def stored_beside(self, spec: InputSpec) -> dict[str, Any]:
        """What an array on disk needs beside it to be read as this modality, by name."""
        return {}

    # --- other programs ---

    def example(self, spec: InputSpec, count: int, generator: torch.Generator) -> Tensor:
        """(count, ...) random raw input as files hold it, spread as the training data is."""
        numbers = torch.randn(count, *spec.shape, generator=generator)
        return numbers * torch.tensor(spec.std or 1.0) + torch.tensor(spec.mean or 0.0)

    def file_range(self, spec: InputSpec) -> tuple[float, float] | None:
        """The numbers of files that become 0 and 1 before an encoder sees them; None where it sees the numbers of the files."""
        return None

    def dynamic_length(self, spec: InputSpec) -> int | None:
        """The largest length of a sample's first dimension, where lengths differ; None where they do not."""
        return None


def to_compare(names: list[str]) -> str:
    """How a run is compared with public models, in one line; empty where none is named."""
    return f"{', '.join(names)} (leaven evaluate RUN DATA --beside {names[0]})" if names else ""


def fitted(value: Value, input: InputSpec) -> Value:
    """Samples as an encoder of this input takes them."""
    return modality_of(value).fitted(value, input.shape, input.rate)


def find_modality(name: str) -> Modality:
    """A modality by its name."""
    if name not in MODALITIES:
        raise unknown_name("modality", name, MODALITIES, "the table of modalities in the docs")
    return MODALITIES[name]


def modality_of(what: Value | InputSpec) -> Modality:
    """The modality of samples, or of an input."""
    return find_modality(what.modality)
