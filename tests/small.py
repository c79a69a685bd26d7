"""Every method at a size that trains in a moment, and data that it can be trained on."""

import atexit
import dataclasses
import functools
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import torch

from leaven.data import Wave, open_data
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.encoders.store import save_encoder
from leaven.methods.registry import build_method, find_method, provided_arguments, registry
from leaven.methods.support import supported_modalities
from leaven.modalities import Boxes, InputSpec, Mask
from leaven.modalities.tokenizer import Tokenizer, TokenizerChoice
from leaven.run import Run
from leaven.training.tokenization import text_roles, tokenized

SPEC = InputSpec("pixels", (3, 16, 16), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
RATE, TIME = 4000.0, 1600
SOUND = InputSpec("wave", (TIME,), (0.0,), (0.2,), rate=RATE)

ENCODERS = {
    "convnet": {"width": 8, "features": 24},
    "vit": {"width": 24, "depth": 1, "heads": 2},
    "lab": {"width": 8, "features": 16},
    "transformer": {"width": 16, "depth": 1, "heads": 2},
    "causal_transformer": {"width": 16, "depth": 1, "heads": 2},
    "word_vectors": {"width": 16},
    "mel_convnet": {"bands": 16, "width": 4, "features": 16},
    "mel_vit": {"bands": 16, "patch": 4, "width": 16, "depth": 1, "heads": 2},
    "frames": {"width": 16, "depth": 2, "heads": 2, "channels": 8, "bands": 8},
    "causal_frames": {"width": 16, "depth": 2, "heads": 2, "channels": 8, "bands": 8},
    "eegnet": {"filters": 3, "sums": 2, "width": 4, "pieces": 3},
    "band_power": {"width": 8},
}
SETTINGS = {
    "rbm": {"hidden": 8},
    "gaussian_rbm": {"hidden": 8},
    "dbn": {"widths": (12, 8)},
    "deep_autoencoder": {"widths": (24, 12, 4)},
    "stacked_autoencoder": {"widths": (24, 12, 4)},
    "made": {"widths": (16,), "orderings": 2},
    "vae": {"code": 4, "annealing": 0.5, "free_bits": 0.1},
    "vqvae": {"codes": 8, "size": 4, "momentum": 0.5, "restart": 0.5, "decoder_width": 16},
    "gan": {"noise": 4, "generator": (16,), "discriminator": (16,)},
    "dcgan": {"noise": 4, "width": 4},
    "conditional_gan": {"noise": 4, "width": 4},
    "wgan_gp": {"noise": 4, "width": 4, "critic_steps": 2, "conditional": True, "recipe.lr": 5e-3},
    "diffusion": {"width": 4, "sample_steps": 2},
    "causal_cnn": {"width": 4, "layers": 2, "kernel": 3, "head": 4, "levels": 8},
    "simcse": {"head": 8},
    "supervised_simcse": {"head": 8},
    "text_vae": {"code": 4},
    "tsdae": {"depth": 1},
    "word2vec": {"shared": 16, "window": 2, "subsample": 0.0},
    "wav2vec": {"ahead": 2, "negatives": 4},
    "wav2vec2": {"codes": 8, "size": 16, "mask_length": 4, "mask_starts": 0.2},
    "hubert": {"clusters": (8, 6), "size": 16, "mask_length": 4, "mask_starts": 0.2},
    "clip": {"dim": 16},
    "siglip": {"dim": 16, "scale": 1.0, "bias": -3.4},
    "unclip": {"dim": 16, "width": 4, "prior_width": 64, "prior_depth": 1, "sample_steps": 2},
    "coca": {"dim": 16, "depth": 1, "queries": 3, "heads": 2},
    "imagebind": {"dim": 16},
    "dual_supervised": {"heads": 2, "slots": 8},
    "joint_dual": {"heads": 2, "slots": 8},
    "dual_unsupervised": {"heads": 2, "slots": 8},
    "relative_positioning": {"near": 1.0, "far": 3.0},
    "masked_prediction": {"mask_length": 4, "mask_starts": 0.2},
    "detection": {"width": 8},
    "segmentation": {"width": 8},
}
"""Settings that make the networks small which a method brings itself, or adds to its encoder."""
MINIMAL_CONFIG = {
    "versions": {}, "machine": {"device": "cpu"}, "command": [], "choices": [], "result": None,
    "asked": {
        "method": {"name": "simclr", "hyperparameters": {}}, "recipe": {}, "encoder": {}, "seed": 0, "precision": "fp32", "accumulate": 1,
        "data": {"name": "", "fingerprint": "", "spec": {"samples": 0, "roles": {}, "classes": 0, "labeled": 0, "class_names": []}},
        "length": {"budget": None, "steps": 1, "epochs": None},
    },
    "plan": {"steps": 1, "batch": 1, "budget": None, "changes": []},
}  # fmt: skip
"""The config.json of a run of which only the encoder counts."""


def teachers():
    """The folder of a run with an encoder for each kind of data, the same in every process."""
    run, words = (
        Run(tempfile.mkdtemp(prefix="leaven-teachers-")),
        Tokenizer.trained(["a cat sees the dog", "my house likes a tree"], TokenizerChoice("words")),
    )
    atexit.register(shutil.rmtree, run.path, ignore_errors=True)
    run.write_config(MINIMAL_CONFIG)
    inputs = {"pixels": SPEC, "grey": InputSpec("pixels", (1, 16, 16)), "vector": InputSpec("vector", (6,)), "counts": InputSpec("counts", (12,))}
    readers = {"text": "word_vectors", "pixels": "convnet", "grey": "convnet", "wave": "mel_convnet", "signal": "eegnet"}
    inputs |= {"wave": SOUND, "signal": InputSpec("signal", (2, 80), rate=100.0)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for role, input in {**inputs, "text": words.input}.items():
            name = readers.get(role, "dense")
            encoder = build_encoder(name, input, {**ENCODERS, "word_vectors": {"width": 8}, "dense": {"widths": (8,)}}[name])
            encoder.tokenizer = words if role == "text" else None
            save_encoder(run.folder_of(role), encoder)
    return Path(run.path)


SETTINGS["distillation"] = {"teacher": str(teachers())}


def few_of_each_family(names, most=2):
    """The same names; those beyond the first few methods of a family are slow, since they share what is tested."""
    seen = Counter()
    marked = []
    for name in names:
        family = registry()[name].family if name in registry() else name
        seen[family] += 1
        marked.append(name if seen[family] <= most else pytest.param(name, marks=pytest.mark.slow))
    return marked


BEGINNING = [name for name, method in registry().items() if not method.continues]
"""Methods that `pretrain` begins with."""
STEPPING = [name for name, method in registry().items() if method.recipe.steps != 0]
"""Methods that are trained by steps, and not computed at once."""
COLORED = ("cmc", "colorization")


def encoder_for(name):
    """The name of an encoder that offers what the method wants."""
    if kind_of(name) == "text":
        return {"words": "word_vectors", "causal_tokens": "causal_transformer"}.get(find_method(name).wants, "transformer")
    if kind_of(name) == "wave":
        return {"features": "mel_convnet"}.get(find_method(name).wants, find_method(name).wants)
    return "lab" if name == "cmc" else "vit" if find_method(name).wants in ("tokens", "patches") else "convnet"


@functools.cache
def kind_of(name):
    """The modality of the samples that a method is tested on: pictures where it reads them."""
    if find_method(name).family == "multimodal" or name == "co_training":
        return "pairs"
    known = supported_modalities(find_method(name))
    return next(modality for modality in ("pixels", "text", "wave", "vector", "counts") if modality in known)


def brings_networks(name):
    return not {"encoder", "encoders"} & set(provided_arguments(find_method(name)))


def small_settings(name):
    """Settings that make its networks small."""
    if kind_of(name) == "pairs":
        sizes = {f"encoder.{role}.{key}": value for role, encoder in towers(name).items() for key, value in ENCODERS[encoder].items()}
        return SETTINGS.get(name, {}) | sizes
    encoder = {} if brings_networks(name) else ENCODERS[encoder_for(name)]
    return SETTINGS.get(name, {}) | {f"encoder.{key}": value for key, value in encoder.items()}


def towers(name):
    """The encoders of a method of several senses."""
    return {"image": "convnet", "text": "causal_transformer" if name == "coca" else "transformer"}


def pictures(count=32, side=16):
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


SENTENCES = [f"{who} {does} {what}" for who in ("a cat", "the dog") for does in ("sees", "likes", "seeks") for what in ("it", "a tree", "my house")]


def sounds(count=32):
    """Tones that rise or fall, each at a pitch of its own, of different lengths, with labels."""
    generator = torch.Generator().manual_seed(0)
    seconds = torch.arange(TIME) / RATE
    pitch, rise, start = torch.rand(3, count, 1, generator=generator)
    tones = 0.4 * torch.sin(2 * torch.pi * ((200 + 800 * pitch) * seconds + 1000 * (rise - 0.5) * seconds**2 + start))
    lengths = torch.where(torch.arange(count) % 4 == 3, TIME * 5 // 8, TIME)
    noise = 0.02 * torch.randn(count, TIME, generator=generator)
    return Wave((tones + noise).masked_fill(torch.arange(TIME) >= lengths[:, None], 0), lengths, RATE), torch.arange(count) % 3


def windows(samples):
    """The same sounds or signals as windows side by side of two recordings."""
    place = torch.arange(len(samples))
    begin = place // 2 * (TIME / RATE)
    return dataclasses.replace(samples, origin=torch.stack([place % 2, begin, begin + TIME / RATE], 1))


def texts(name, count=32):
    """Sentences that are all different, in the roles that the method reads, with labels."""
    sentences = [f"{sentence} {number}" for number in range(count) for sentence in SENTENCES][:count]
    changed = [sentence.replace("a ", "the ").replace("my ", "our ") for sentence in sentences]
    if name == "dual_unsupervised":  # which learns from texts without a partner as well
        changed = [sentence if number % 2 else "" for number, sentence in enumerate(changed)]
    return {**dict(zip(find_method(name).roles, (sentences, changed), strict=False)), "label": torch.arange(count) % 3}


def digits_for(name):
    """The demo's digits, which are grey, or noise in colour, or texts or sounds, for methods that need it."""
    if kind_of(name) != "pixels":
        return samples_for(name, 128)
    if find_method(name).learns_unlabeled or find_method(name).whole_pictures:
        return samples_for(name, 128)
    return pictures(128) if name in COLORED else "demo:digits"


def learnable(name):
    """Pictures that the method can learn from: in noise no place looks like any other, so puzzles get pictures that are bright in the middle, and
    two crops of a picture have nothing in common nor its values with each other, so targets from another crop and models of the data get pictures
    of one colour each."""
    if find_method(name).family in ("clustering", "distillation", "generative", "latent"):
        return pictures(side=1).expand(-1, -1, 16, 16).contiguous()
    if name not in ("jigsaw", "relative_position"):
        return pictures()
    place = torch.linspace(-1, 1, 16)
    return (0.3 * pictures() + 150 * (1 - (place[:, None] ** 2 + place**2) / 2)).to(torch.uint8)


def samples_for(name, count=32):
    """What the method can be trained on for a few steps, with labels."""
    if kind_of(name) == "pairs":
        return {"image": pictures(count), "text": texts("masked_lm", count)["x"], "label": labels_for(name, count)}
    if name == "relative_positioning":
        samples, label = sounds(count)
        return windows(samples), label
    if kind_of(name) == "wave":
        return sounds(count)
    if find_method(name).whole_pictures:
        return {"x": pictures(count), find_method(name).target: placed(count)[find_method(name).target], "label": torch.arange(count) % 3}
    return texts(name, count) if kind_of(name) == "text" else (pictures(count), labels_for(name, count))


def placed(count=32, side=16):
    """A box in each picture, two in every second one, and masks, of which some pixels have no class."""
    number = torch.arange(count)
    first = torch.tensor([2.0, 2.0, 9.0, 9.0]) + (number % 4)[:, None]
    second = torch.tensor([8.0, 4.0, 14.0, 12.0]).expand(count, -1)
    boxes = Boxes(torch.stack([first, second], 1), torch.stack([number % 3, torch.where(number % 2 == 0, 1, -1)], 1))
    mask = (torch.arange(side)[:, None] // 6 + number[:, None, None]).expand(-1, -1, side) % 3
    return {"boxes": boxes, "mask": Mask(torch.where(torch.arange(side) < 14, mask, 255).to(torch.uint8))}


def labels_for(name, count=32):
    """Three classes; every second sample has none, for methods that learn from such samples as well."""
    number = torch.arange(count)
    return torch.where(number % 2 == 0, number // 2 % 3, -1) if getattr(find_method(name), "learns_unlabeled", False) else number % 3


def learnable_samples(name):
    """The same, from which it can learn."""
    return (learnable(name), labels_for(name)) if kind_of(name) == "pixels" else samples_for(name)


@functools.cache
def labeled(name="simclr"):
    """Labeled samples as the method's views are made of them: texts in tokens."""
    return in_tokens(open_data(samples_for(name), unpaired=find_method(name).reads_unpaired))


def in_tokens(data):
    if not text_roles(data):
        return data
    every = [text for role in text_roles(data) for text in data.rows[role].texts]
    return tokenized(data, Tokenizer.trained(every, TokenizerChoice(vocabulary=400)))


def small(name, **settings):
    torch.manual_seed(0)
    method, data = find_method(name), labeled(name).spec
    if kind_of(name) == "pairs":
        encoders = {role: build_encoder(encoder, data.roles[role], ENCODERS[encoder]) for role, encoder in towers(name).items()}
        return build_method(method, data, encoders, {**SETTINGS.get(name, {}), **settings})
    spec = SPEC if kind_of(name) == "pixels" else data.roles[next(iter(method.inputs(data)))]
    roles = {role: data.roles[role] for role in method.inputs(data)} if method.family == "dual" else {"x": spec}
    encoders = (
        {} if brings_networks(name) else {role: build_encoder(encoder_for(name), one, ENCODERS[encoder_for(name)]) for role, one in roles.items()}
    )
    return build_method(method, data, encoders, {**SETTINGS.get(name, {}), **settings})


def step_views(method, draw=None):
    batch = labeled(method.name).rows
    batch = batch.select(torch.arange(len(batch)))
    having = {"labeled": batch.label >= 0, "unlabeled": batch.label < 0} if method.learns_unlabeled else {}
    pools = {pool: batch.select(having[pool].nonzero().flatten()) if pool in having else batch for pool in method.pools}
    return method.views(pools or batch, draw or Draw(0, "views"))
