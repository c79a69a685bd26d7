"""What changing colours destroys: whether pictures that look alike differ in their colour alone."""

import torch
from torch import Tensor
from torch.nn import functional as F

from leaven.data import DataSet
from leaven.modalities import modality_of
from leaven.modalities.content import evenly_spaced
from leaven.modalities.pixels import grey_weights
from leaven.threads import one_thread

LOOKED_AT, FEWEST = 2000, 60  # pictures
SIDE = 16
ALIKE = 0.9  # cosine of grey thumbnails
MOSTLY = 0.7  # share of a squared difference
AT_ONCE = 256


def colour_twins(data: DataSet, role: str) -> float | None:
    """The share of pictures whose nearest other one, in grey, is much like them and differs from them mostly in colour. None for grey pictures, and
    for fewer than 60 to train on."""
    value, train = data.rows[role], data.train()
    if len(train) < FEWEST or data.spec.roles[role].shape[0] != 3:
        return None
    rows = train[torch.from_numpy(evenly_spaced(len(train), LOOKED_AT))]
    modality = modality_of(value)

    def thumbnails(part: Tensor) -> Tensor:
        pixels = modality.pictures(value[part])
        small = F.adaptive_avg_pool2d(pixels.float(), min(SIDE, *pixels.shape[2:]))
        return small / (255 if pixels.dtype == torch.uint8 else 1)

    with one_thread():
        pixels = torch.cat([thumbnails(part) for part in rows.split(AT_ONCE)])
        grey = torch.einsum("bchw,c->bhw", pixels, grey_weights(3, pixels.device))
        colour, grey = (pixels - grey[:, None]).flatten(1), grey.flatten(1)
        grey = grey - grey.mean(1, keepdim=True)
        unit = F.normalize(grey, dim=1)
        likeness, nearest = (unit @ unit.T).fill_diagonal_(-1).max(1)
        in_colour, in_grey = ((part - part[nearest]).square().sum(1) for part in (colour, grey))
    return ((likeness > ALIKE) & (in_colour > MOSTLY * (in_colour + in_grey))).double().mean().item()
