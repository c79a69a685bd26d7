"""A folder that `sentence_transformers.SentenceTransformer` reads."""

from pathlib import Path

from safetensors.torch import save_file

from leaven.encoders import Encoder, TextEncoder
from leaven.exporters import transformers
from leaven.run import write_json

POOLING = {"mean": "pooling_mode_mean_tokens", "first": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"))


class SentenceTransformers(transformers.Transformers):
    """What `--to transformers` writes, and how tokens become the features of a text: pooled, and whitened where the encoder does that."""

    def write(self, encoder: Encoder, out: Path) -> None:
        super().write(encoder, out)
        assert isinstance(encoder, TextEncoder)
        modules = [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
            for number, (path, name) in enumerate(MODULES if encoder.whitening.fitted else MODULES[:2])
        ]
        pooling = {"word_embedding_dimension": encoder.dim, **{mode: name == encoder.pooling for name, mode in POOLING.items()}}
        write_json(out / "modules.json", modules)
        write_json(out / "sentence_bert_config.json", {"max_seq_length": encoder.input.shape[0], "do_lower_case": False})
        write_json(out / "1_Pooling" / "config.json", pooling)
        if encoder.whitening.fitted:
            center, axes = encoder.whitening.center, encoder.whitening.axes
            dense = {"in_features": encoder.dim, "out_features": encoder.dim, "bias": True, "activation_function": "torch.nn.modules.linear.Identity"}
            write_json(out / "2_Dense" / "config.json", dense)
            save_file({"linear.weight": axes.T.contiguous(), "linear.bias": -center @ axes}, out / "2_Dense" / "model.safetensors")
