import itertools
import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders import build_encoder
from leaven.encoders.causal import Causal, GatedConv, through
from leaven.errors import UserError
from leaven.methods import Count, DataSpec, Method, Outputs, Recipe, TwoOrMore
from leaven.modules.likelihood import choose_likelihood


class CausalCNN(Method):
    """Predict each pixel from those before it, row by row: p(x) = prod p(x_i | x_<i, label) (van den Oord et al. 2016, eq. 1-4).

    Within a pixel, red comes before green and green before blue. Features are means over all places in the middle of the network.

    width: channels of each of the two stacks. layers: how many there are, half of which belong to the encoder (2 or more). kernel: side of the area
    that a layer sees, odd. head: channels before the outputs. likelihood: "bernoulli", "categorical" or "gaussian"; "auto" takes Bernoulli for nearly
    binary data, else categorical. levels: of a categorical one. conditional: learn p(x | label), so that samples of a class can be made; labels then
    reach the second half of the layers only.
    """

    paper = "Conditional Image Generation with PixelCNN Decoders (van den Oord et al.)"
    year = 2016
    recipe = Recipe(optimizer="adamw", lr=3e-3, batch=32, weight_decay=0.0)
    modality = "pixels"
    purpose = "plain"
    loss_over_batch = False
    log_prob_is = "log-likelihood"
    encoder: Causal
    earlier: torch.Tensor

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        layers: TwoOrMore = 4,
        kernel: int = 7,
        head: Count = 64,
        likelihood: str = "auto",
        levels: int = 256,
        conditional: bool = False,
    ):
        if conditional and (not data.classes or data.labeled < data.samples):
            raise UserError(
                f"conditional needs a label for every sample, and {data.labeled} of {data.samples} have one", hint="give them with --labels"
            )
        super().__init__(build_encoder("causal", data.roles["x"], {"width": width, "depth": layers // 2, "kernel": kernel}))
        self.classes = data.classes if conditional else 0
        self.learns_labels = conditional
        self.layers = nn.ModuleList(GatedConv(width, width, kernel, classes=self.classes) for _ in range(layers - layers // 2))
        self.likelihood = choose_likelihood(likelihood, self.encoder.input, otherwise="categorical", own=True, levels=levels)
        channels = self.encoder.input.shape[0]
        self.context = nn.Conv2d(width, head, 1)
        self.own = nn.Conv2d(channels, channels * head, 1)  # adds the earlier channels of the same pixel
        self.output = nn.Conv2d(channels * head, channels * self.likelihood.per_value, 1, groups=channels)
        self.register_buffer("earlier", torch.ones(channels, channels).tril(-1).repeat_interleave(head, 0)[:, :, None, None], persistent=False)

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        return {"target": self.likelihood.observe(x, draw.child("observed")), "label": batch.label}

    def forward(self, views):
        return Outputs(conditionals=self.conditionals(views["target"], views["label"]), target=views["target"])

    def conditionals(self, target, label):
        """(B, values, per_value): the parameters of p(x_i | x_<i)."""
        planes = self.encoder.planes(self.likelihood.value(target))
        _, left = through(self.layers, *through(self.encoder.layers, planes, planes), label)
        return self.outputs(left, planes)

    def outputs(self, left, planes):
        pixel = planes[:, : self.earlier.shape[1]]
        own = F.conv2d(pixel, self.own.weight * self.earlier, self.own.bias)
        hidden = F.relu(own + self.context(F.relu(left)).repeat(1, pixel.shape[1], 1, 1))
        return self.output(hidden).unflatten(1, (-1, self.likelihood.per_value)).movedim(2, -1).flatten(1, 3)

    def loss(self, outputs):
        return {"nats": -self.likelihood.log_prob(outputs.conditionals, outputs.target).mean()}

    def chance(self, outputs):
        return self.likelihood.chance

    def log_prob(self, value, draw):
        """A conditional model takes all classes as equally likely."""
        target = self.likelihood.observe(value, draw.child("observed"))
        labels = torch.arange(max(1, self.classes), device=target.device)[:, None].expand(-1, len(target))
        nats = [self.likelihood.log_prob(self.conditionals(target, label), target) for label in labels]
        return torch.stack(nats).logsumexp(0) - math.log(len(labels))

    def sample(self, count, draw, label=None):
        """Rows from the top. What lies above a row is computed once, and only the row itself again for each of its values."""
        if label is not None and not self.classes:
            raise UserError("this model knows no classes", hint="train one with --set conditional=true")
        if label is None and self.classes:
            label = draw.child("label").integers(self.classes, count).to(self.earlier.device)
        channels, height, width = self.encoder.input.shape
        target = self.earlier.new_zeros(count, channels, height, width)
        layers, values = [*self.encoder.layers, *self.layers], draw.child("values")
        for row in range(height):
            above, links = self.encoder.planes(self.likelihood.value(target.flatten(1))), []
            for layer in layers:
                above, link = layer.rows(above, label)
                links.append(link[:, :, row : row + 1])
            for column, channel in itertools.product(range(width), range(channels)):
                planes = self.encoder.planes(self.likelihood.value(target.flatten(1)))[:, :, row : row + 1]
                left = planes
                for layer, link in zip(layers, links, strict=True):
                    left = layer.places(left, link)
                place = channel * width + column
                target[:, channel, row, column] = self.likelihood.sample(self.outputs(left, planes)[:, place : place + 1], values)[:, 0]
        return self.likelihood.value(target.flatten(1))
