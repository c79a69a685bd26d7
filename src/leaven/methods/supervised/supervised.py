import math

from torch import nn
from torch.nn import functional as F

from leaven.data.spec import DataSpec
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.methods.method import Method, Outputs, Recipe
from leaven.views import Views


class Supervised(Method):
    """Predict the label: no pre-training at all, but the floor that pre-training has to beat. Unlabeled samples are left aside."""

    paper = "the usual softmax classifier"
    year = 1958
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=64, weight_decay=0.05, lr_rule="none")
    purpose = "reconstruction"
    pools = {"labeled": 1}
    couples = False

    def __init__(self, encoder: Encoder, data: DataSpec, *, views: Views | None = None):
        super().__init__(encoder, views)
        if data.classes < 2:
            raise UserError("supervised learning needs labels of two classes or more", hint="give them with --labels")
        self.classifier = nn.Linear(encoder.dim, data.classes)

    def views(self, batches, draw):
        (view,) = self.augment(batches["labeled"]["x"], draw)
        return {"x": view, "label": batches["labeled"].label}

    def forward(self, views):
        features = self.encoder(views["x"])
        return Outputs(features=features, logits=self.classifier(features), label=views["label"])

    def loss(self, outputs):
        return {"cross_entropy": F.cross_entropy(outputs.logits, outputs.label)}

    def chance(self, outputs):
        return math.log(self.classifier.out_features)
