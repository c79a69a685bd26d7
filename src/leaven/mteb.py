"""A run of text as mteb's tasks take it (Massive Text Embedding Benchmark, Muennighoff et al. 2023)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch

from leaven.api import options
from leaven.encoders import describe_encoder
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.modalities import Strings, Text
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoder_of
from leaven.vectors import weights_hash

try:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ScoringFunction
except ImportError as error:
    raise UserError(f"the package {(error.name or 'mteb').split('.')[0]} is not installed", hint="pip install 'leaven[mteb]'") from None


@options.documented
class MtebEncoder(AbsEncoder):
    """The encoder of a run: `mteb.evaluate(MtebEncoder("runs/second"), tasks)`. Texts are compared by cosine, without the tasks' instructions.

    Vectors are those of `leaven.embed`, in fp32; mteb's batch size has no effect. An empty text, which `embed` sets aside, is read as one without
    words. mteb keeps scores by the name of the run's folder and a hash of its encoder, so that no run gets the scores of another.

    Raises UserError for a run that does not read text.
    """

    def __init__(self, run: options.RunFolder, *, role: options.Role = None, device: options.Device = "auto"):
        run = Run.open(run)
        self.encoder, self.device = load_encoder_of(run, role), choose_device(device)
        if self.encoder.tokenizer is None:
            what = f"this encoder reads {self.encoder.input.modality}, and mteb's tasks are of text"
            raise UserError(what, where=run.path, hint="give a run of text")
        same = [weights_hash(self.encoder), self.encoder.tokenizer.digest(), describe_encoder(self.encoder)]
        self.mteb_model_meta = ModelMeta.create_empty({
            "name": f"leaven/{run.path.resolve().name}", "revision": hashlib.blake2b(json.dumps(same).encode(), digest_size=16).hexdigest(),
            "n_parameters": sum(parameter.numel() for parameter in self.encoder.parameters()), "embed_dim": self.encoder.dim,
            "framework": ["PyTorch"], "similarity_fn_name": ScoringFunction.COSINE, "use_instructions": False,
        })  # fmt: skip

    def encode(self, inputs: Any, **_: Any) -> np.ndarray:
        """(texts, dim) float32 vectors of all batches. inputs: dicts with a list of texts in "text"."""
        texts = [text for batch in inputs for text in batch["text"]]
        return encode(self.encoder, Text(Strings.of(texts)), torch.arange(len(texts)), device=self.device).numpy()
