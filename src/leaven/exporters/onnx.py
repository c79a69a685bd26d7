"""One .onnx file: raw input -> features, with the normalisation inside."""

import json
import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.encoders import Encoder, TextEncoder, describe_encoder
from leaven.errors import UserError
from leaven.exporters.target import Target, of_files

LARGEST = 2_000_000_000  # bytes; what one protobuf message holds is a little more


class Onnx(Target):
    """A graph with the input `pixels` (batch, C, H, W), `numbers` (batch, D) or `ids` (batch, tokens) and the output `features` (batch, dim); any
    batch size.

    pixels: what pictures hold, "uint8" 0-255 or "float" 0-1. opset: version of ONNX's operators, from 18.
    """

    suffix = ".onnx"

    def __init__(self, *, pixels: str = "uint8", opset: int = 18):
        if pixels not in ("uint8", "float"):
            raise UserError(f"pixels are uint8 or float, not {pixels!r}")
        if opset < 18:
            raise UserError(f"opset {opset} is older than what can be written", hint="choose 18 or newer")
        self.pixels, self.opset = pixels, opset

    def unfit(self, encoder: Encoder) -> str:
        size = sum(tensor.nbytes for tensor in encoder.state_dict().values())
        return f"an .onnx file holds 2 GB, and this encoder has {size / 1e9:.1f}: export it to safetensors" if size > LARGEST else ""

    def write(self, encoder: Encoder, out: Path) -> None:
        require_onnx()
        modality = encoder.modality
        example = modality.example(encoder.input, 2, torch.Generator().manual_seed(0))
        if example.dtype == torch.uint8 and self.pixels == "float":
            example = example / 255
        max_length = modality.dynamic_length(encoder.input)
        dynamic = {0: torch.export.Dim("batch")} | ({} if max_length is None else {1: torch.export.Dim("length", min=2, max=max_length)})
        with without_chatter(), encoder.padded() if isinstance(encoder, TextEncoder) else nullcontext():
            try:
                program = torch.onnx.export(
                    of_files(encoder), (example,), dynamo=True, opset_version=self.opset, input_names=[modality.export_name],
                    output_names=["features"],
                    dynamic_shapes=(dynamic,), verbose=False,
                )  # fmt: skip
            except torch.onnx.OnnxExporterError as error:
                why = str(error.__cause__ or error).strip().splitlines()[0]
                raise UserError(f"this encoder cannot be written as ONNX: {why}", hint="export it to safetensors") from error
        assert program is not None
        model: Any = program.model
        model.doc_string = f"{encoder.name or describe_encoder(encoder)['name']} encoder trained with Leaven; its normalisation is inside the graph"
        model.metadata_props.update(self.describe(encoder))
        program.save(out, external_data=False)

    def describe(self, encoder: Encoder) -> dict[str, str]:
        """The model's metadata: what goes in, what comes out, where it comes from."""
        input, described = encoder.input, describe_encoder(encoder)
        taken = encoder.modality.export_format
        if edges := encoder.modality.file_range(input):
            taken = taken.replace("uint8 0-255", f"float32, the numbers of the files, of which {edges[0]:g} to {edges[1]:g} count")
        elif self.pixels == "float":
            taken = taken.replace("uint8 0-255", "float 0-1")
        return {
            "leaven": version("leaven"),
            "encoder": described["name"],
            "arguments": json.dumps(described["arguments"]),
            "input": f"{encoder.modality.export_name}: {taken}",
            "shape": json.dumps(input.shape),
            "mean": json.dumps(input.mean),
            "std": json.dumps(input.std),
            "output": "features: float32, (batch, dim)",
            "dim": str(encoder.dim),
        }

    def read(self, out: Path) -> Callable[[Tensor], Tensor]:
        import onnxruntime

        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        (input,) = session.get_inputs()

        def features(raw: Tensor) -> Tensor:
            raw = raw / 255 if raw.dtype == torch.uint8 and input.type == "tensor(float)" else raw
            return torch.from_numpy(session.run(None, {input.name: raw.numpy()})[0])

        return features


def require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX needs the package {error.name}", hint="pip install 'leaven[onnx]'") from None


@contextmanager
def without_chatter():
    """Keep the exporter's notes away from the user, and transformer layers away from a fused operator that ONNX lacks."""
    fast, level = torch.backends.mha.get_fastpath_enabled(), logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        logging.disable(level)
