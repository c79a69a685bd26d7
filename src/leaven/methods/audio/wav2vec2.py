import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders.encoder import Hidden
from leaven.errors import UserError
from leaven.methods import Count, Encoder, Method, NonNegative, Outputs, PartialShare, Positive, Recipe, Share, TwoOrMore
from leaven.modules.quantizer import GumbelQuantizer, group_perplexity
from leaven.views.spans import spans


class Wav2Vec2(Method):
    """From the frames around it, tell what a hidden frame was quantised to from what other hidden frames of the same sample were (Baevski et al.
    2020, eq. 2-4).

    Frames are hidden from the context alone; the quantiser sees them. Those that were quantised to the same codes as the right one do not count. The
    paper draws the others anew for each frame; here the hidden frames of a sample share them, so that they are compared in one product of matrices.

    mask_starts: share of a sample's frames with which a hidden span begins (above 0, below 1). mask_length: frames of a span, at most half of a
    sample's. distractors: how many other hidden frames at most. temperature: of the softmax over them (above 0). codes: of each group, one of which
    is chosen for a frame. groups: of codes, of which a frame has one each. diversity: weight of the term that keeps codes in use; without it one code
    can come to stand for everything, since then nothing is left to tell apart. gumbel: temperature with which codes are chosen at the start and at
    the end (above 0), along a geometric line. size: numbers of the vectors that are compared, a multiple of groups. front_gradient: share of the
    gradient that reaches the frames (0 to 1), so that the encoder's first layers change slowly.
    """

    paper = "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations (Baevski et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=7e-3, batch=64, weight_decay=0.05, warmup=0.1)
    wants = "frames"
    purpose = "reconstruction"
    guards = {"diversity": "the term that keeps all codes in use"}
    softness: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_starts: PartialShare = 0.065,
        mask_length: Count = 10,
        distractors: Count = 100,
        temperature: Positive = 0.1,
        codes: TwoOrMore = 320,
        groups: Count = 2,
        diversity: NonNegative = 0.1,
        gumbel: tuple[Positive, Positive] = (2.0, 0.5),
        size: Count = 128,
        front_gradient: Share = 0.1,
    ):
        super().__init__(encoder)
        if size % groups:
            raise UserError(f"vectors of {size} numbers do not divide into {groups} groups", where="size", hint="choose a multiple of groups")
        self.mask_starts, self.mask_length, self.distractors, self.temperature = mask_starts, mask_length, distractors, temperature
        self.diversity, self.gumbel, self.front_gradient = diversity, gumbel, front_gradient
        self.mask_token = nn.Parameter(torch.randn(encoder.dim) * 0.02)
        self.quantizer = GumbelQuantizer(encoder.latent_size, size, groups, codes)
        self.predict, self.target = nn.Linear(encoder.dim, size), nn.Linear(size, size)
        self.register_buffer("softness", torch.tensor(float(gumbel[0])))

    def no_weight_decay(self):
        return {"mask_token"}

    def views(self, batch, draw):
        (sample,) = self.augment(batch["x"], draw)
        real = self.encoder.real_tokens(sample)
        noise = draw.child("gumbel").gumbel(*real.shape, self.quantizer.groups, self.quantizer.codes)
        hidden = spans(draw.child("mask"), real, self.mask_starts, self.mask_length)
        return {"sample": sample, "hidden": hidden, "order": draw.child("order").uniform(*real.shape).to(real.device), "noise": noise.to(real.device)}

    def forward(self, views):
        hidden = views["hidden"]
        frames = self.encoder.frames(views["sample"])
        latents = self.front_gradient * frames.latents + (1 - self.front_gradient) * frames.latents.detach()
        tokens = self.encoder.context(frames._replace(latents=latents), hidden=Hidden(hidden, self.mask_token)).tokens
        quantized = self.quantizer(latents, views["noise"], self.softness.item())
        counted = hidden[..., None, None].to(quantized.shares)
        shares = (quantized.shares * counted).sum(1)
        likeliest = quantized.likeliest.transpose(1, 2)
        used = torch.zeros_like(shares).scatter_add(2, likeliest, hidden[:, None].expand_as(likeliest).to(shares))
        return Outputs(
            **self.identified(self.predict(tokens), self.target(quantized.vectors), quantized.chosen, hidden, views["order"]),
            shares=shares, used=used, hidden=hidden.sum(1), frames=frames.real.sum(1),
        )  # fmt: skip

    def identified(self, predictions, targets, codes, hidden, order):
        """nats: of the hidden frames, summed over each sample. count: how many have another to be told from. evenly: their nats if all were equally
        likely. right: for how many the right one is the likeliest. order: numbers by which the others of a sample are chosen."""
        predictions, targets = (F.normalize(part.to(order), dim=2, eps=1e-6) for part in (predictions, targets))
        places = order.masked_fill(~hidden, 2.0).argsort(1)[:, : self.distractors + 1]
        others = targets.gather(1, places[..., None].expand(-1, -1, targets.shape[2]))
        with torch.autocast(order.device.type, enabled=False):  # in full precision, since the temperature is low
            wrong = predictions @ others.transpose(1, 2) / self.temperature
        right = (predictions * targets).sum(2, keepdim=True) / self.temperature
        own = places[:, None] == torch.arange(hidden.shape[1], device=hidden.device)[:, None]
        another = hidden.gather(1, places)[:, None] & ~own
        same = (codes[:, :, None] == codes.gather(1, places[..., None].expand(-1, -1, codes.shape[2]))[:, None]).all(3)
        logits = torch.cat([right, wrong.masked_fill(~another | same, -torch.inf)], 2)
        count = another.sum(2)
        counted = hidden & (count > 0)
        return {
            "nats": (-logits.log_softmax(2)[..., 0] * counted).sum(1),
            "count": counted.sum(1),
            "evenly": (torch.log1p(count.to(logits)) * counted).sum(1),
            "right": ((logits.argmax(2) == 0) & counted).sum(1),
        }

    def loss(self, outputs):
        terms = {"contrast": outputs.nats.sum() / outputs.count.sum().clamp(min=1)}
        if self.diversity:
            entries = outputs.shares[0].numel()
            shares = outputs.shares.sum(0) / outputs.hidden.sum()
            terms["diversity"] = self.diversity * (entries - group_perplexity(shares)) / entries
        return terms

    def chance(self, outputs):
        return (outputs.evenly.sum() / outputs.count.sum().clamp(min=1)).item()

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        start, end = self.gumbel
        self.softness.fill_(start * (end / start) ** progress)

    def measures(self, outputs):
        used = outputs.used.sum(0).double()
        return {
            "perplexity": group_perplexity(used / used.sum(1, keepdim=True)).item(),
            "identified": (outputs.right.sum() / outputs.count.sum().clamp(min=1)).item(),
            "hidden": (outputs.hidden.sum() / outputs.frames.sum()).item(),
        }

    def diagnose(self, measures):
        groups, codes = self.quantizer.groups, self.quantizer.codes
        if measures["perplexity"] > max(1.5 * groups, groups * codes / 40):
            return {}
        use = f"the perplexity of the codes is {measures['perplexity']:.1f}, between {groups} where one stands for everything and {groups * codes}"
        return {"codebook collapse": f"{use}; usual causes: diversity=0 or too small, too high a learning rate, or far too many codes"}
