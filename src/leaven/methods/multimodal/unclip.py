from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders import UNet, build_encoder
from leaven.errors import UserError
from leaven.methods import Count, DataSpec, NonNegative, Outputs, PartialShare, Positive, Recipe, Share, ShareBelowOne, Stage, Width
from leaven.methods.multimodal.clip import CLIP
from leaven.modalities import Pixels, modality_of
from leaven.modules import Teacher
from leaven.modules.noising import Noising, guided
from leaven.modules.prior import Prior, Reading

LEVELS, SCHEDULE = 1000, "cosine"


class UnCLIP(CLIP):
    """Draw what a text says (Ramesh et al. 2022, section 2): CLIP learns vectors of pictures and texts, a prior finds the vector of a picture from a
    text, and a decoder the picture from its vector. Both remove noise step by step, as `diffusion` does.

    CLIP, the prior and the decoder learn one after another; CLIP then stays as it is. Networks and noise schedules are those of the diffusers
    library.

    clip_share: of the steps, in which CLIP learns (0: both encoders come from one run of clip). prior_share: in which the prior does; the decoder has
    the rest. prior_width: of the prior's transformer, in whole heads of 64. prior_depth: its layers. width: channels of the decoder's largest maps, a
    multiple of 4. blocks: its residual blocks at each size of maps. drop: share of samples whose text, or vector, the networks are not given.
    prior_guidance: how strongly the text shapes the vector (1: as learned; more: exaggerated; 0: not at all). guidance: how strongly the vector
    shapes the picture. candidates: vectors that the prior finds, of which the most like the text's is taken. sample_steps: levels at which noise is
    removed, a divisor of 1000. momentum: of the moving averages of both networks, which make new pictures. denoising_lr: their learning rate, at the
    recipe's batch; that of the recipe is CLIP's. dim, scale, locked: see `clip`.
    """

    paper = "Hierarchical Text-Conditional Image Generation with CLIP Latents (Ramesh et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=1.4e-2, batch=128, weight_decay=0.05)
    modality = ("pixels", "text")
    decoder: UNet
    projectors: Any
    averages: Any
    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self,
        encoders,
        data: DataSpec,
        *,
        clip_share: ShareBelowOne = 0.4,
        prior_share: PartialShare = 0.2,
        prior_width: Width = 256,
        prior_depth: Count = 2,
        width: Width = 32,
        blocks: Count = 1,
        drop: Share = 0.1,
        prior_guidance: NonNegative = 2.0,
        guidance: NonNegative = 2.0,
        candidates: Count = 2,
        sample_steps: Count = 25,
        momentum: ShareBelowOne = 0.999,
        denoising_lr: Positive = 1e-3,
        **clip: Any,
    ):
        super().__init__(encoders, **clip)
        self.text, self.image = (role_of(encoders, tokenized) for tokenized in (True, False))
        if clip_share + prior_share >= 1:
            raise UserError(f"CLIP and the prior leave no steps to the decoder: {clip_share} and {prior_share} of all", where="prior_share")
        if prior_width % 64:
            raise UserError(f"a width of {prior_width} is not in whole heads of 64", where="prior_width")
        dim, text, image = self.projectors[self.text].out_features, encoders[self.text].input, encoders[self.image].input
        self.shares = {"clip": clip_share, "prior": prior_share, "decoder": 1 - clip_share - prior_share}
        self.denoising_lr, self.drop, self.prior_guidance, self.guidance, self.candidates = denoising_lr, drop, prior_guidance, guidance, candidates
        self.decoder = build_encoder("unet", image, {"width": width, "blocks": blocks, "vector": dim})  # type: ignore[assignment]
        self.prior = Prior(dim, text.shape[0], width=prior_width, depth=prior_depth, heads=prior_width // 64)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.vector_noise = Noising(LEVELS, SCHEDULE, sample_steps, predicts="sample", bounded=False)
        self.picture_noise = Noising(LEVELS, SCHEDULE, sample_steps, predicts="velocity")
        self.averages = nn.ModuleDict(
            {name: Teacher(getattr(self, name), momentum=momentum, rising=False, warming=True) for name in ("prior", "decoder")}
        )

    @classmethod
    def inputs(cls, data):
        return {role: "tokens" if modality_of(data.roles[role]).tokenized else wants for role, wants in super().inputs(data).items()}

    @property
    def needs_space(self):
        return self.shares["clip"] == 0

    # --- three stages ---

    def stages(self):
        parts = {"clip": (self.senses, self.projectors, nn.ParameterList([self.log_scale])), "prior": (self.prior,), "decoder": (self.decoder,)}
        denoising = {"optimizer": "adamw", "lr": self.denoising_lr, "weight_decay": 0.0, "betas": (0.9, 0.999), "clip": 1.0}
        for name, share in self.shares.items():
            if share:
                prepare = self.measure_vectors if name == "prior" else None
                yield Stage(name, share, prepare, parts[name], recipe={} if name == "clip" else denoising)

    @property
    def learns(self):
        """What this stage trains: clip, prior or decoder."""
        return [name for name, share in self.shares.items() if share][self.stage]

    def measure_vectors(self, encode):
        """How the vectors of all pictures lie: in one narrow cone, in which noise would drown them."""
        vectors = encode(lambda batch: self.unit(self.image, self.senses[self.image](batch[self.image])))
        self.mean.copy_(vectors.mean(0))
        self.deviation.copy_(vectors.std(0, correction=0).clamp(min=1e-4))

    def train(self, mode=True):
        super().train(mode)
        if self.learns != "clip":
            self.senses.eval()
        return self

    def views(self, batch, draw):
        """For the prior and the decoder, also level and noise, and of which samples the condition is dropped."""
        views, count = super().views(batch, draw), len(batch)
        if self.learns == "clip":
            return views
        shape = self.decoder.input.shape if self.learns == "decoder" else (self.decoder.vector,)
        noise, level = draw.child("noise"), draw.child("level").integers(LEVELS, count)
        return views | {"level": level, "noise": noise.normal(count, *shape), "dropped": draw.child("drop").chance(self.drop, count)}

    def forward(self, views):
        if self.learns == "clip":
            return super().forward(views)
        with torch.no_grad():
            vectors = self.standardised(self.unit(self.image, self.senses[self.image](views["views"][self.image])))
        dropped, level, noise = views["dropped"], views["level"], views["noise"]
        if self.learns == "prior":
            with torch.no_grad():
                read = self.read(views["views"][self.text])
            return Outputs(predicted=self.prior(self.vector_noise.noisy(vectors, noise, level), level, read.without(dropped)), target=vectors)
        pictures = 2 * self.decoder.unit(views["views"][self.image]) - 1
        noisy, target = (part(pictures, noise, level) for part in (self.picture_noise.noisy, self.picture_noise.target))
        return Outputs(predicted=self.decoder.noise(noisy, level, vectors * ~dropped[:, None]), target=target)

    def loss(self, outputs):
        if self.learns == "clip":
            return super().loss(outputs)
        return {"vector" if self.learns == "prior" else "picture": F.mse_loss(outputs.predicted, outputs.target)}

    def chance(self, outputs):
        return super().chance(outputs) if self.learns == "clip" else outputs.target.square().mean().item()

    def after_step(self, outputs, progress):
        """Only what learns is averaged."""
        if self.learns == "clip":
            self.bound_scale()
        else:
            self.averages[self.learns].update(progress)

    def measures(self, outputs):
        return super().measures(outputs) if self.learns == "clip" else {}

    def diagnose(self, measures):
        return super().diagnose(measures) if self.learns == "clip" else {}

    # --- the space, and samples ---

    @property
    def sampled(self):
        return self.senses[self.image]

    def unit(self, role, features):
        """Features as unit vectors of CLIP's space."""
        return F.normalize(in_full(self.projectors[role](features)), dim=-1, eps=1e-6)

    def standardised(self, vectors):
        return (vectors - self.mean) / self.deviation

    def read(self, texts):
        """What the prior reads of each text: its vector and those of its tokens, scaled so that their numbers have a mean square of 1."""
        encoder = self.senses[self.text]
        tokens = encoder.in_tokens(texts)
        features = encoder.token_features(tokens)
        text, by_token = (self.unit(self.text, part) * len(self.mean) ** 0.5 for part in (features.features, features.tokens))
        return Reading(text, by_token, tokens.mask)

    def imagined(self, read, draw):
        """(batch, dim) unit vectors of pictures that these texts could describe: of several the one with the largest product with the text's (section
        2.2)."""
        prior, nothing = self.averages["prior"].network[0], read.without(torch.ones_like(read.mask[:, 0]))

        def predict(noisy, level):
            return guided(lambda reading: prior(noisy, level, reading), read, nothing, self.prior_guidance)

        noises = [draw.normal(*read.text.shape).to(read.text) for _ in range(self.candidates)]
        draws = torch.stack([self.vector_noise.denoised(noise, predict, draw) for noise in noises])
        units = F.normalize(draws * self.deviation + self.mean, dim=2, eps=1e-6)
        best = (units * read.text).sum(2).argmax(0)
        return units[best, torch.arange(len(best), device=best.device)]

    def drawn(self, vectors, draw):
        """Pictures of these unit vectors."""
        decoder, standard = self.averages["decoder"].network[0], self.standardised(vectors)

        def predict(noisy, level):
            return guided(lambda vectors: decoder.noise(noisy, level, vectors), standard, torch.zeros_like(standard), self.guidance)

        noise = draw.normal(len(vectors), *self.decoder.input.shape).to(vectors)
        return Pixels(((self.picture_noise.denoised(noise, predict, draw) + 1) / 2).clamp(0, 1))

    @torch.no_grad()
    def from_text(self, text, draw):
        return self.drawn(self.imagined(self.read(text), draw.child("prior")), draw.child("decoder"))

    @torch.no_grad()
    def sample(self, count, draw, label=None):
        """Pictures of any text."""
        dim, scale = self.decoder.vector, self.decoder.scale
        nothing = Reading(scale.new_zeros(count, dim), scale.new_zeros(count, 1, dim), scale.new_zeros(count, 1, dtype=torch.bool))
        return self.drawn(self.imagined(nothing, draw.child("prior")), draw.child("decoder"))


def role_of(encoders, tokenized):
    """The input with texts, or the one with pictures. UserError where there is none."""
    for role, encoder in encoders.items():
        if modality_of(encoder.input).tokenized if tokenized else encoder.input.planar:
            return role
    raise UserError("unclip learns from pictures and texts about them", hint="name both columns, as in --columns image=COLUMN,text=COLUMN")


def in_full(vectors):
    """In fp32 (or fp64) whatever the network ran in."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
