"""Every method at a size that trains in a moment, and data that it can be trained on."""

import torch

from leaven.data import Draw, open_data
from leaven.data.spec import InputSpec
from leaven.encoders import build_encoder
from leaven.methods.registry import build_method, find_method, registry

SPEC = InputSpec("pixels", (3, 16, 16), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))

ENCODERS = {"convnet": {"width": 8, "features": 24}, "vit": {"width": 24, "depth": 1, "heads": 2}, "lab": {"width": 8, "features": 16}}
BEGINNING = [name for name, method in registry().items() if not method.continues]
"""Methods that `pretrain` begins with."""
COLORED = ("cmc", "colorization")


def encoder_for(name):
    """The name of an encoder that offers what the method wants."""
    return {"tokens": "vit", "channel_groups": "lab"}.get(find_method(name).wants, "convnet")


def small_encoder(name):
    """Settings that make it small."""
    return {f"encoder.{key}": value for key, value in ENCODERS[encoder_for(name)].items()}


def pictures(count=32, side=16):
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def digits_for(name):
    """The demo's digits, which are grey, or noise in colour for methods that need it."""
    return pictures(128) if name in COLORED else "demo:digits"


def learnable(name):
    """Pictures that the method can learn from: in noise no place looks like any other, so puzzles get pictures that are bright in the middle, and
    two crops of a picture have nothing in common, so targets from another crop get pictures of one colour each."""
    if find_method(name).family in ("clustering", "distillation"):
        return pictures(side=1).expand(-1, -1, 16, 16).contiguous()
    if name not in ("jigsaw", "relative_position"):
        return pictures()
    place = torch.linspace(-1, 1, 16)
    return (0.3 * pictures() + 150 * (1 - (place[:, None] ** 2 + place**2) / 2)).to(torch.uint8)


def labeled():
    return open_data((pictures(), torch.arange(32) % 3))


def small(name, **settings):
    torch.manual_seed(0)
    method = find_method(name)
    encoder = build_encoder(encoder_for(name), SPEC, ENCODERS[encoder_for(name)])
    return build_method(method, labeled().spec, {"x": encoder}, settings)


def step_views(method, draw=None):
    data = labeled()
    batch = data.rows
    return method.views({pool: batch for pool in method.pools} if method.pools else batch, draw or Draw(0, "views"))
