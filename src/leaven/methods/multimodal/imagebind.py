import torch
from torch import nn

from leaven.errors import UserError
from leaven.methods import Encoder, Positive, Recipe, Width
from leaven.methods.multimodal.clip import CLIP


class ImageBind(CLIP):
    """A new input, such as sound, learns to meet the vectors of an input that a run knows already, such as pictures (Girdhar et al. 2023, eq. 1).

    The run is one that compares several inputs (`clip`, ...), and stays as it is: its encoders, and the space in which they are compared. So the new
    input meets all of its others, although it was never trained together with them: sounds find texts.

    anchor: the input whose encoder comes from the run; it follows from --encoder. dim: length of the vectors that are compared; it is that of the
    run. scale: the inverse of the softmax's temperature at the start (above 0); it is learned, and stays between 1 and 100.
    """

    paper = "ImageBind: One Embedding Space To Bind Them All (Girdhar et al.)"
    year = 2023
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    continues = inherits = True

    def __init__(self, encoders: dict[str, Encoder], data, *, anchor: str = "image", dim: Width = 128, scale: Positive = 1 / 0.07):
        if anchor not in data.inputs:
            raise UserError(f"no input is called {anchor!r}", where="anchor", hint=f"choose from {', '.join(data.inputs)}")
        (bound,) = (role for role in data.inputs if role != anchor)
        known = [role for role in encoders if role != bound]
        super().__init__(encoders, dim=dim, scale=scale, locked=",".join(known))
        self.augment = {role: self.augment[role] for role in (anchor, bound)}
        self.projectors = nn.ModuleDict({role: nn.Linear(encoder.dim, dim) for role, encoder in encoders.items()})
        for role in known:
            self.projectors[role].requires_grad_(False)

    @torch.no_grad()
    def adopt_space(self, space, scale=None):
        for role, projector in space.items():
            self.projectors[role].weight.copy_(projector.weight)
            self.projectors[role].bias.copy_(torch.zeros(len(projector.weight)) if projector.bias is None else projector.bias)
        return True
