import dataclasses

from leaven.data.spec import DataSpec
from leaven.encoders import Encoder
from leaven.methods.contrastive.mocov1 import MoCoV1
from leaven.views import PictureViews, Views

BLURRED_FROM = 64  # pixels: smaller pictures do not survive it


class MoCoV2(MoCoV1):
    """MoCo with an MLP head, a higher temperature, and views that are blurred as well (Chen et al. 2020, section 3).

    temperature: of the softmax over keys (above 0). queue: number of earlier keys (1 or more; at most half of the samples). momentum: share of the
    copy that stays at each step (0-1; the paper's 0.999 suits trainings of 100,000 steps and more). norm_groups: sub-batches that batch norm sees
    separately (1: not split). projector: widths of the layers after the encoder.
    """

    paper = "Improved Baselines with Momentum Contrastive Learning (Chen et al.)"
    year = 2020

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        temperature: float = 0.2,
        queue: int = 4096,
        momentum: float = 0.99,
        norm_groups: int = 4,
        projector: tuple[int, ...] = (512, 128),
        views: Views | None = None,
    ):
        super().__init__(
            encoder, data, temperature=temperature, queue=queue, momentum=momentum, norm_groups=norm_groups, projector=projector, views=views
        )
        if views is None and isinstance(self.augment, PictureViews) and min(encoder.input.shape[1:]) >= BLURRED_FROM:
            self.augment = dataclasses.replace(self.augment, blur=(0.5,))
