import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods import Count, Encoder, Method, Outputs, Recipe
from leaven.modules import Teacher
from leaven.modules.patches import Transformer, gather_tokens, sincos_positions
from leaven.views.masks import multi_block


class IJEPA(Method):
    """From one part of a picture, predict how a slow copy of the encoder represents other parts (Assran et al. 2023, eq. 1).

    blocks: how many blocks are predicted, from 1. block_scale: share of the picture that a block covers, from and to. block_ratio: its height divided
    by its width, from and to. context_scale: share of the picture that the encoder sees, from and to, before the blocks are taken out of it.
    predictor_width: of a token in the predictor, a multiple of 4 and of predictor_heads. predictor_depth: its layers. predictor_heads: of its
    attention. momentum: of the teacher at the start (0 to 1), which rises to 1 at the end. stop_gradient: targets come from the teacher, without
    gradients; those of the encoder itself would collapse.

    Targets are normalised over their channels. The distance is the smooth L1 of the authors' code, where eq. 1 has the squared one.
    """

    paper = "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture (Assran et al.)"
    year = 2023
    recipe = Recipe(optimizer="muon", lr=7e-3, batch=128, weight_decay=0.05, warmup=0.1)
    modality = "pixels"
    wants = "tokens"
    purpose = "reconstruction"
    guards = {"stop_gradient": "targets from a teacher, without gradients"}
    loss_over_batch = False
    positions: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        blocks: Count = 4,
        block_scale: tuple[float, float] = (0.15, 0.2),
        block_ratio: tuple[float, float] = (0.75, 1.5),
        context_scale: tuple[float, float] = (0.85, 1.0),
        predictor_width: int = 96,
        predictor_depth: int = 2,
        predictor_heads: int = 3,
        momentum: float = 0.99,
        stop_gradient: bool = True,
    ):
        super().__init__(encoder)
        for name, (low, high), most in (("block_scale", block_scale, 1), ("context_scale", context_scale, 1), ("block_ratio", block_ratio, 100)):
            if not 0 < low <= high <= most:
                raise UserError(f"{name} must be two numbers above 0 and up to {most}, the smaller first, not {low}, {high}")
        self.grid = (encoder.input.shape[1] // encoder.patch, encoder.input.shape[2] // encoder.patch)
        self.blocks = {"blocks": blocks, "scale": block_scale, "ratio": block_ratio, "context": context_scale}
        self.stop_gradient = stop_gradient
        self.embed = nn.Linear(encoder.dim, predictor_width)
        self.mask_token = nn.Parameter(torch.randn(predictor_width) * 0.02)
        self.register_buffer("positions", sincos_positions(*self.grid, predictor_width), persistent=False)
        self.predictor = Transformer(predictor_width, predictor_depth, predictor_heads)
        self.predict = nn.Sequential(nn.LayerNorm(predictor_width), nn.Linear(predictor_width, encoder.dim))
        self.teacher = Teacher(self.encoder, momentum=momentum)

    def views(self, batch, draw):
        (picture,) = self.augment(batch["x"], draw)
        targets, context = multi_block(draw.child("mask"), len(batch), self.grid, **self.blocks)
        return {"picture": picture, "targets": targets, "context": context}

    def forward(self, views):
        whole = self.targets(views["picture"])
        context, targets = views["context"], views["targets"]
        seen = self.embed(self.encoder.tokens(views["picture"], keep=context)) + self.positions[context]
        queries = self.mask_token + self.positions[targets]
        both = torch.cat([seen[:, None].expand(-1, targets.shape[1], -1, -1).to(queries.dtype), queries], dim=2)
        answers = self.predictor(both.flatten(0, 1))[:, context.shape[1] :]  # each block separately, from the same context
        prediction = self.predict(answers).unflatten(0, targets.shape[:2]).flatten(1, 2)
        return Outputs(prediction=prediction, target=gather_tokens(whole, targets.flatten(1)), embeddings=[whole[:, whole.shape[1] // 2]])

    def targets(self, picture):
        """(B, patches, dim): the teacher's tokens of the whole picture, of mean 0 and variance 1."""
        if self.stop_gradient:
            with torch.no_grad():
                tokens = self.teacher.network[0].tokens(picture)
        else:
            tokens = self.encoder.tokens(picture)
        return F.layer_norm(tokens, tokens.shape[-1:])

    def loss(self, outputs):
        return {"prediction": F.smooth_l1_loss(outputs.prediction, outputs.target)}

    def chance(self, outputs):
        return F.smooth_l1_loss(torch.zeros_like(outputs.target), outputs.target).item()
