"""A folder that `sentence_transformers.SentenceTransformer` reads."""

from __future__ import annotations

from pathlib import Path

from leaven.encoders import Encoder, TextEncoder
from leaven.exporters import transformers
from leaven.run import write_json

POOLING = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"))


class SentenceTransformers(transformers.Transformers):
    """What `--to transformers` writes, and how tokens become the features of a text."""

    def write(self, encoder: Encoder, out: Path) -> None:
        super().write(encoder, out)
        assert isinstance(encoder, TextEncoder)
        modules = [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
            for number, (path, name) in enumerate(MODULES)
        ]
        pooling = {"word_embedding_dimension": encoder.dim, **{mode: name == encoder.pooling for name, mode in POOLING.items()}}
        write_json(out / "modules.json", modules)
        write_json(out / "sentence_bert_config.json", {"max_seq_length": encoder.input.shape[0], "do_lower_case": False})
        write_json(out / "1_Pooling" / "config.json", pooling)
