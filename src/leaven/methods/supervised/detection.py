import torch
from torch import nn
from torch.nn import functional as F

from leaven.methods import DataSpec, Encoder, Outputs, Positive, Recipe, Width
from leaven.methods.surgery import Lateral, Surgery

FINEST, COARSEST = 4, 32  # pixels between the places at which objects are looked for
SCALES, RATIOS = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)), (0.5, 1.0, 2.0)


class Detection(Surgery):
    """Find objects and name them: torchvision's RetinaNet over a pyramid of the encoder's maps (Lin et al. 2017).

    train: "all", "last:N" (the last N blocks of the encoder), or "head" (all but the encoder). encoder_rate: the encoder's learning rate, as a
    multiple of the head's. width: channels of the heads. anchor: side of the smallest anchors, in strides of the map that they lie on; 3 suits small
    pictures, and torchvision's is 4.
    """

    paper = "Focal Loss for Dense Object Detection (Lin et al.)"
    year = 2017
    recipe = Recipe(optimizer="adamw", lr=1e-3, batch=8, weight_decay=0.05, lr_rule="none", warmup=0.1, clip=1.0, steps=300)
    loss_over_batch = False
    target = "boxes"

    def __init__(
        self, encoder: Encoder, data: DataSpec, *, train: str = "all", encoder_rate: Positive = 0.5, width: Width = 64, anchor: Positive = 3.0
    ):
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead

        super().__init__(encoder, data, train=train, encoder_rate=encoder_rate)
        fine = [(channels, stride) for channels, stride in self.shapes if stride >= FINEST] or self.shapes[-1:]
        self.left_out = len(self.shapes) - len(fine)
        self.lateral = Lateral([channels for channels, _ in fine], width)
        strides = [stride for _, stride in fine]
        while strides[-1] < COARSEST:
            strides.append(2 * strides[-1])
        self.pooled = len(strides) - len(fine)
        sizes = tuple(tuple(anchor * stride * scale for scale in SCALES) for stride in strides)
        anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
        self.backbone = nn.Identity()
        self.backbone.out_channels = width  # type: ignore[assignment]
        head = RetinaNetHead(width, len(SCALES) * len(RATIOS), self.classes, norm_layer=lambda channels: nn.GroupNorm(8, channels))
        self.retina = RetinaNet(self.backbone, self.classes, anchor_generator=anchors, head=head)

    def places(self, x):
        """The maps on which objects are looked for; the anchors of each picture; and how many anchors lie on each map."""
        from torchvision.models.detection.image_list import ImageList

        maps, sides = self.maps(x)
        sided = self.lateral(maps[self.left_out :])
        for _ in range(self.pooled):
            sided.append(F.max_pool2d(sided[-1], 1, 2))
        batch = len(sided[0])
        anchors = self.retina.anchor_generator(ImageList(x.main.new_zeros(batch, 1, *sides, dtype=torch.float32), [sides] * batch), sided)
        return sided, anchors, [len(SCALES) * len(RATIOS) * one.shape[2] * one.shape[3] for one in sided]

    def forward(self, views):
        sided, anchors, _ = self.places(views["x"])
        boxes = views["target"]
        return Outputs(**self.retina.head(sided), anchors=torch.stack(anchors), boxes=boxes.xyxy, classes=boxes.classes)

    def loss(self, outputs):
        rows = range(len(outputs.boxes))
        real = [outputs.classes[row] >= 0 for row in rows]
        targets = [{"boxes": outputs.boxes[row][real[row]], "labels": outputs.classes[row][real[row]]} for row in rows]
        heads = {name: outputs[name] for name in ("cls_logits", "bbox_regression")}
        return self.retina.compute_loss(targets, heads, list(outputs.anchors))

    @torch.no_grad()
    def detect(self, value):
        sided, anchors, counts = self.places(value)
        heads = {name: list(part.float().split(counts, 1)) for name, part in self.retina.head(sided).items()}
        sides = [tuple(value.main.shape[2:])] * len(value)
        return self.retina.postprocess_detections(heads, [list(one.split(counts)) for one in anchors], sides)
