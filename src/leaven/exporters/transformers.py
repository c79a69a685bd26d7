"""A folder that `transformers.AutoModel.from_pretrained` and `AutoTokenizer.from_pretrained` read."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from leaven.encoders import Encoder, TextEncoder
from leaven.encoders.transformer import Whitening, without_bars
from leaven.exporters.target import Target

TOKENS = {"pad": "pad_token", "unknown": "unk_token", "begin": "cls_token", "end": "sep_token", "mask": "mask_token"}


class Transformers(Target):
    """The network with its config.json, and the tokeniser. The features of a text are the mean of its tokens' (or the first or last one), whitened
    where the encoder does that, as README.md in the folder says."""

    def unfit(self, encoder: Encoder) -> str:
        if not isinstance(encoder, TextEncoder):
            return f"{encoder.name or 'this encoder'} is no model of the transformers library: export it to safetensors or onnx"
        return "" if encoder.tokenizer is not None else "this encoder was trained on tokens and has no tokeniser: export it to safetensors"

    def write(self, encoder: Encoder, out: Path) -> None:
        from transformers import AutoModel, PreTrainedTokenizerFast

        assert isinstance(encoder, TextEncoder) and encoder.tokenizer is not None
        config = copy.deepcopy(encoder.network.config)
        config._attn_implementation = None
        network: Any = AutoModel.from_config(config)  # with a pooler, where readers expect one
        network.load_state_dict(encoder.network.state_dict(), strict=False)
        with without_bars():
            network.save_pretrained(out)
        tokenizer, longest = encoder.tokenizer, encoder.input.shape[0]
        names = {TOKENS[name]: tokenizer.inner.id_to_token(number) for name, number in tokenizer.special.items()}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer.inner, model_max_length=longest, **names).save_pretrained(out)
        lines = [POOLED[encoder.pooling]]
        if encoder.whitening.fitted:
            save_file(encoder.whitening.state_dict(), out / WHITENING)
            lines.append(WHITENED)
        (out / "README.md").write_text(READ.format(pooling=encoder.pooling, pooled="\n".join(lines)))

    def read(self, out: Path) -> Callable[[Tensor], Tensor]:
        from transformers import AutoModel, AutoTokenizer

        with without_bars():
            network, pad = AutoModel.from_pretrained(out).eval(), AutoTokenizer.from_pretrained(out).pad_token_id
        pooling = next(pooling for pooling, line in POOLED.items() if line in (out / "README.md").read_text())
        whitening = Whitening(network.config.hidden_size)
        if (out / WHITENING).is_file():
            whitening.load_state_dict(load_file(out / WHITENING))

        @torch.no_grad()
        def features(ids: Tensor) -> Tensor:
            mask = ids != pad
            tokens = network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
            if pooling == "mean":
                return whitening((tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
            return whitening(tokens[torch.arange(len(ids)), mask.sum(1) - 1 if pooling == "last" else 0])

        return features


POOLED = {
    "mean": "features = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
    "first": "features = tokens[:, 0]",
    "last": "features = tokens[torch.arange(len(tokens)), mask.sum(1) - 1]",
}
WHITENING = "whitening.safetensors"
WHITENED = f"""
from safetensors.torch import load_file

whitening = load_file("{WHITENING}")
features = (features - whitening["center"]) @ whitening["axes"]"""
READ = """# A text encoder trained with Leaven

```python
from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModel.from_pretrained(".").eval()
read = tokenizer(["a sentence", "another one"], padding=True, truncation=True, return_tensors="pt")
tokens, mask = model(**read).last_hidden_state, read["attention_mask"]
{pooled}
```

Features are pooled by: {pooling}.
"""
