"""Text in pieces: a tokeniser trained on the user's own text, or that of a Hugging Face model."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.hyperparameters import convert
from leaven.modalities import InputSpec, LazyTensor, Text, Tokens

if TYPE_CHECKING:
    import tokenizers

KINDS = ("bpe", "wordpiece", "bytes", "words")
SPECIAL = {"pad": "[PAD]", "unknown": "[UNK]", "begin": "[CLS]", "end": "[SEP]", "mask": "[MASK]"}
LEAST_LENGTH, USUAL_LENGTH, MOST_LENGTH, COVERED = 8, 128, 2**17, 0.99


@dataclasses.dataclass(frozen=True)
class TokenizerChoice:
    """What tokeniser is trained.

    kind: "bpe" (frequent pairs of bytes, so that everything can be written), "wordpiece" (words and their parts; the library that trains it does not
    give the same twice), "bytes" (each byte a token) or "words" (the most frequent words; all others are one unknown word). vocabulary: how many
    tokens at most. lowercase: without case and accents (None: except for bytes). max_length: tokens of a text that are read, with those that begin
    and end it (None: as many as 99 % of the texts have, at most 128).
    """

    aliases: ClassVar[dict[str, str]] = {"longest": "max_length"}
    """Names that fields had before."""

    kind: str = "bpe"
    vocabulary: int = 8000
    lowercase: bool | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"no tokeniser is named {self.kind!r}", where="tokenizer.kind", hint=f"choose {', '.join(KINDS)}")
        if self.kind != "bytes" and self.vocabulary < 300:
            raise UserError(f"a vocabulary needs 300 tokens or more, not {self.vocabulary}", where="tokenizer.vocabulary")
        if self.max_length is not None and self.max_length < LEAST_LENGTH:
            raise UserError(f"texts of {self.max_length} tokens are too short", where="tokenizer.max_length", hint=f"give {LEAST_LENGTH} or more")


def typed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is set of tokenisers, as `vocabulary` or `ROLE.vocabulary`, in today's names and types. Raises UserError for values of other types."""
    kinds, typed = get_type_hints(TokenizerChoice), {}
    for name, value in settings.items():
        role, dot, field = name.rpartition(".")
        field = TokenizerChoice.aliases.get(field, field)
        typed[f"{role}{dot}{field}"] = convert(value, kinds[field], f"tokenizer.{name}") if field in kinds else value
    return typed


class Ragged(LazyTensor):
    """(N, max_length) int64 token ids of texts of different lengths, kept without padding. Selected rows are as wide as the max_length of them.

    real: gives instead, as bool, where there is a token.
    """

    def __init__(self, flat: Tensor, starts: Tensor, lengths: Tensor, pad: int, real: bool = False):
        self.flat, self.starts, self.lengths, self.pad, self.real = flat, starts, lengths, pad, real
        self.shape, self.dtype = torch.Size([len(lengths), int(lengths.max()) if len(lengths) else 0]), torch.bool if real else torch.int64

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        index = index.cpu() if isinstance(index, Tensor) else index
        starts, lengths = self.starts[index, None], self.lengths[index, None]
        place = torch.arange(int(lengths.max()) if len(lengths) else 0)
        there = place < lengths
        if self.real or not len(self.flat):
            return there if self.real else torch.full(there.shape, self.pad)
        return torch.where(there, self.flat[(starts + place).clamp(max=len(self.flat) - 1)].long(), self.pad)

    def take(self, rows: np.ndarray) -> Ragged:
        chosen = torch.from_numpy(rows)
        return Ragged(self.flat, self.starts[chosen], self.lengths[chosen], self.pad, self.real)

    @property
    def nbytes(self) -> int:
        return 0 if self.real else int(self.lengths.sum()) * self.flat.element_size()


class Tokenizer:
    """Text -> tokens and back. max_length: tokens of a text that are read; those after are left out, but for the one that ends a text.

    special: ids of "pad", "unknown", "begin", "end" and "mask", as far as there are such.
    """

    def __init__(self, inner: tokenizers.Tokenizer, special: dict[str, int], max_length: int):
        self.inner, self.special, self.max_length = inner, special, max_length
        inner.no_padding()
        inner.enable_truncation(max_length)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else it warns wherever a process forks

    @classmethod
    def trained(cls, texts: Iterable[str], choice: TokenizerChoice) -> Tokenizer:
        """From these texts."""
        from tokenizers import Tokenizer as Inner
        from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

        special = list(SPECIAL.values())
        lowercase = choice.kind != "bytes" if choice.lowercase is None else choice.lowercase
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any
        if choice.kind in ("wordpiece", "words"):
            unknown = SPECIAL["unknown"]
            inner = Inner(models.WordPiece(unk_token=unknown) if choice.kind == "wordpiece" else models.WordLevel(unk_token=unknown))
            inner.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
            inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            make: Any = trainers.WordPieceTrainer if choice.kind == "wordpiece" else trainers.WordLevelTrainer
            trainer = make(vocab_size=choice.vocabulary, special_tokens=special, show_progress=False)
            inner.decoder = decoders.WordPiece()
        else:
            inner = Inner(models.BPE())
            plain = [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()] if lowercase else []
            inner.normalizer = normalizers.Sequence([*plain, normalizers.NFC()])
            inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # a word is the same at the beginning
            inner.decoder = decoders.ByteLevel()
            size = len(special) + len(alphabet) if choice.kind == "bytes" else choice.vocabulary
            trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
        inner.train_from_iterator(texts, trainer)
        ids = {name: number for name, token in SPECIAL.items() if (number := inner.token_to_id(token)) is not None}
        begin, end = SPECIAL["begin"], SPECIAL["end"]
        inner.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", special_tokens=[(begin, ids["begin"]), (end, ids["end"])])
        tokenizer = cls(inner, ids, choice.max_length or USUAL_LENGTH)
        if choice.max_length is None:
            tokenizer = cls(inner, ids, usual_length(tokenizer(list(texts)).mask))
        return tokenizer

    @classmethod
    def of_model(cls, name: str, max_length: int | None = None) -> Tokenizer:
        """That of a Hugging Face model, by its name or folder. Raises UserError where there is none that can be had."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(f"no tokeniser of {name} can be had: {str(error).splitlines()[0]}", hint="give a model's name, or its folder") from error
        tokens = {
            "pad": tokenizer.pad_token_id, "unknown": tokenizer.unk_token_id, "mask": tokenizer.mask_token_id,
            "begin": tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id,
            "end": tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id,
        }  # fmt: skip
        special = {token: number for token, number in tokens.items() if number is not None}
        return cls(tokenizer.backend_tokenizer, special, min(max_length or USUAL_LENGTH, tokenizer.model_max_length))

    @classmethod
    def load(cls, path: Path, input: InputSpec) -> Tokenizer:
        """From a tokenizer.json. Raises UserError for another file."""
        from tokenizers import Tokenizer as Inner

        try:
            inner = Inner.from_file(str(path))
            inner.encode("a")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises Exception itself, and panics of Rust are none
            raise UserError(f"the tokeniser cannot be read: {error}", where=path) from error
        size = inner.get_vocab_size()
        if size != input.vocabulary or len(input.shape) != 1 or input.shape[0] > MOST_LENGTH or max(input.special.values(), default=0) >= size:
            raise UserError(f"the tokeniser has {size:,} tokens, which does not fit what config.json says of it", where=path)
        return cls(inner, dict(input.special), input.shape[0])

    def save(self, path: Path) -> None:
        self.inner.save(str(path))

    @property
    def vocabulary(self) -> int:
        return self.inner.get_vocab_size()

    @property
    def input(self) -> InputSpec:
        """What an encoder of its tokens reads."""
        return InputSpec("text", (self.max_length,), vocabulary=self.vocabulary, special=self.special)

    def digest(self) -> str:
        """The same for the same tokeniser."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return hashlib.blake2b(self.inner.to_str().encode(), digest_size=16).hexdigest()

    def __call__(self, texts: Text | Sequence[str]) -> Tokens:
        """Tokens of all texts, as many of each as are read; they are padded when they are selected."""
        return self.ragged(self.encoded(texts))

    def pieces(self, texts: Text | Sequence[str]) -> tuple[Tokens, Int64[Tensor, " pieces"]]:
        """All tokens of all texts, in pieces of as many as are read, and the number of the text that each piece belongs to."""
        encodings = [[piece, *piece.overflowing] for piece in self.encoded(texts)]
        text = torch.repeat_interleave(torch.tensor([len(pieces) for pieces in encodings], dtype=torch.int64))
        return self.ragged([piece for pieces in encodings for piece in pieces]), text

    def cut_short(self, texts: Text, tokens: Tokens) -> int:
        """How many of the texts have more tokens than are read. tokens: what was read of them."""
        full = (tokens.mask.lengths == self.max_length).nonzero().flatten()  # type: ignore[attr-defined]
        return sum(bool(piece.overflowing) for piece in self.encoded(texts[full])) if len(full) else 0

    def encoded(self, texts: Text | Sequence[str]) -> list[tokenizers.Encoding]:
        return self.inner.encode_batch_fast(texts.texts.tolist() if isinstance(texts, Text) else list(texts))

    def ragged(self, encodings: Sequence[tokenizers.Encoding]) -> Tokens:
        lengths = torch.tensor([len(piece) for piece in encodings], dtype=torch.int64)
        flat = torch.from_numpy(np.fromiter((token for piece in encodings for token in piece.ids), np.int32, int(lengths.sum())))
        ids = Ragged(flat, lengths.cumsum(0) - lengths, lengths, self.special.get("pad", 0))
        return Tokens(ids, Ragged(flat, ids.starts, lengths, 0, real=True))  # type: ignore[arg-type]

    def decode(self, tokens: Tokens) -> list[str]:
        """Texts, without special tokens."""
        texts = self.inner.decode_batch([ids[there].tolist() for ids, there in zip(tokens.ids, tokens.mask, strict=True)])
        return [text.removeprefix(" ") for text in texts]


def usual_length(mask: Any) -> int:
    """As many tokens as 99 % of the texts have, at most 128, in steps of 8."""
    lengths = mask.lengths.sort().values
    covered = int(lengths[min(len(lengths) - 1, int(COVERED * len(lengths)))])
    return min(USUAL_LENGTH, max(LEAST_LENGTH, -(-covered // 8) * 8))
