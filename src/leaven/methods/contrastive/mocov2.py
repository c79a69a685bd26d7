import dataclasses

from leaven.methods import DataSpec, Encoder, Positive
from leaven.methods.contrastive.mocov1 import MoCoV1
from leaven.views import PictureViews

BLURRED_FROM = 64  # pixels: smaller pictures do not survive it


class MoCoV2(MoCoV1):
    """MoCo with an MLP head, a higher temperature, and views that are blurred as well (Chen et al. 2020, section 3)."""

    paper = "Improved Baselines with Momentum Contrastive Learning (Chen et al.)"
    year = 2020

    def __init__(self, encoder: Encoder, data: DataSpec, *, temperature: Positive = 0.2, projector: tuple[int, ...] = (512, 128), **moco):
        super().__init__(encoder, data, temperature=temperature, projector=projector, **moco)
        if isinstance(self.augment, PictureViews) and min(encoder.input.shape[1:]) >= BLURRED_FROM:
            self.augment = dataclasses.replace(self.augment, blur=(0.5,))
