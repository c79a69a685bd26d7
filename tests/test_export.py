"""Ways out: what is written gives the same features to programs that know nothing of Leaven, or is not kept."""

import errno
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.datasets import load_sample_images, load_wine
from small import MINIMAL_CONFIG

import leaven
from leaven.encoders import build_encoder
from leaven.encoders.store import load_encoder, save_encoder
from leaven.exporters import find_target, target_names
from leaven.exporters.safetensors import Safetensors
from leaven.modalities import InputSpec
from leaven.run import Run

WINES = torch.tensor(load_wine().data, dtype=torch.float32)
PICTURES = InputSpec("pixels", (3, 32, 32), (0.5, 0.45, 0.4), (0.25, 0.2, 0.3))
NUMBERS = InputSpec("vector", (13,), tuple(WINES.mean(0).tolist()), tuple(WINES.std(0).tolist()))

ENCODERS = {
    "convnet": ("convnet", PICTURES, {"width": 8, "features": 64}),
    "vit": ("vit", PICTURES, {"width": 32, "depth": 2, "heads": 2}),
    "mlp": ("mlp", NUMBERS, {"width": 24}),
    "small-resnet18": ("resnet18", PICTURES, {}),
    "resnet18": ("resnet18", PICTURES, {"small_stem": False}),
    "timm-vit": ("test_vit", PICTURES, {}),
}
ONNX = ["convnet", "vit", "mlp", "small-resnet18", "timm-vit"]


def encoder_of(name):
    """An encoder in eval mode whose batch norms have seen something, as after a training."""
    kind, spec, arguments = ENCODERS[name]
    torch.manual_seed(0)
    encoder = build_encoder(kind, spec, arguments)
    with torch.no_grad():
        for buffer_name, buffer in encoder.named_buffers():
            if buffer_name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif buffer_name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return encoder.eval()


def real_input(name):
    """17 wines, or 17 pieces of a photograph."""
    if ENCODERS[name][1] is NUMBERS:
        return WINES[:17]
    photograph = torch.from_numpy(load_sample_images().images[0].copy()).permute(2, 0, 1)
    return photograph.unfold(1, 32, 57).unfold(2, 32, 61).permute(1, 2, 0, 3, 4).flatten(0, 1)[3:20].contiguous()


@pytest.fixture
def given(tmp_path):
    """Real input and the encoder's own features of it, on disk for another process."""

    def save(name, encoder):
        raw = real_input(name)
        with torch.no_grad():
            features = encoder(raw)
        np.savez(tmp_path / f"{name}.npz", raw=raw.numpy(), features=features.numpy())
        return raw, features

    return save


def without_leaven(folder, script):
    """Run a script in a fresh process in this folder, in which Leaven must not be imported; what it prints."""
    script = textwrap.dedent(script) + "\nimport sys\nassert not any(name.split('.')[0] == 'leaven' for name in sys.modules)\n"
    found = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "run"
    return leaven.pretrain("demo:digits", steps=2, batch=64, out=out, settings={"encoder.width": 8, "encoder.features": 32})


def test_the_targets_are_the_files_of_the_folder():
    assert {"onnx", "safetensors", "timm"} <= set(target_names())
    assert all(find_target(name).write for name in target_names())


# --- onnx ---


def test_onnx_gives_the_encoders_features_in_onnxruntime_alone_for_any_batch(tmp_path, given):
    for name in ONNX:
        encoder = encoder_of(name)
        given(name, encoder)
        assert find_target("onnx").export(encoder, tmp_path / f"{name}.onnx").relative < 1e-4
    told = without_leaven(
        tmp_path,
        f"""
        import sys
        import numpy as np, onnxruntime
        for name in {ONNX}:
            stored = np.load(f"{{name}}.npz")
            session = onnxruntime.InferenceSession(f"{{name}}.onnx")
            (taken,) = session.get_inputs()
            for count in (1, 3, 17):
                features = session.run(["features"], {{taken.name: stored["raw"][:count]}})[0]
                wanted = stored["features"][:count]
                assert features.shape == wanted.shape and features.dtype == np.float32, (name, features.shape)
                assert abs(features - wanted).max() < 1e-4 * abs(wanted).max(), (name, count, abs(features - wanted).max())
            print(name, taken.name, taken.type, taken.shape)
        assert "torch" not in sys.modules
        """,
    )
    lines = told.splitlines()
    assert len(lines) == len(ONNX)
    assert "convnet pixels tensor(uint8) ['batch', 3, 32, 32]" in lines and "mlp numbers tensor(float) ['batch', 13]" in lines


def test_onnx_says_what_it_takes_and_refuses_anything_else(tmp_path):
    import onnx
    import onnxruntime

    encoder = encoder_of("convnet")
    find_target("onnx", {"opset": "20"}).export(encoder, tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [20]
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["input"] == "pixels: uint8 0-255, (batch, channels, height, width)"
    assert json.loads(told["mean"]) == list(PICTURES.mean) and json.loads(told["std"]) == list(PICTURES.std)
    assert (told["encoder"], told["leaven"], told["dim"]) == ("convnet", leaven.__version__, "64")
    assert json.loads(told["arguments"]) == {"width": 8, "features": 64}
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for wrong in (np.zeros((2, 3, 32, 32), np.float32), np.zeros((2, 3, 31, 32), np.uint8), np.zeros((2, 1, 32, 32), np.uint8)):
        with pytest.raises(Exception, match=r"Unexpected input data type|Got invalid dimensions"):
            session.run(None, {"pixels": wrong})


def test_onnx_takes_pixels_in_0_to_1_where_asked(tmp_path):
    import onnxruntime

    encoder = encoder_of("convnet")
    find_target("onnx", {"pixels": "float"}).export(encoder, tmp_path / "a.onnx")
    raw = torch.rand(3, 3, 32, 32)
    features = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(None, {"pixels": raw.numpy()})[0]
    with torch.no_grad():
        wanted = encoder(raw)
    assert np.abs(features - wanted.numpy()).max() < 1e-4 * wanted.abs().max()


def test_onnx_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(leaven.UserError, match=r"pip install 'leaven\[onnx\]'"):
        find_target("onnx").export(encoder_of("mlp"), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


# --- safetensors ---


def test_safetensors_are_the_encoder_by_name_and_enough_to_compute_its_features(tmp_path, given):
    encoder = encoder_of("mlp")
    raw, wanted = given("mlp", encoder)
    assert find_target("safetensors").export(encoder, tmp_path / "mlp").absolute == 0
    assert {path.name for path in (tmp_path / "mlp").iterdir()} == {"config.json", "model.safetensors"}
    assert load_file(tmp_path / "mlp" / "model.safetensors").keys() == encoder.state_dict().keys()
    assert torch.equal(load_encoder(tmp_path / "mlp")(raw), wanted)
    without_leaven(
        tmp_path,
        """
        import numpy as np
        from safetensors.numpy import load_file
        w, stored = load_file("mlp/model.safetensors"), np.load("mlp.npz")
        def norm(x, name):
            deviation = np.sqrt(w[f"{name}.running_var"] + 1e-5)
            return (x - w[f"{name}.running_mean"]) / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]
        x = stored["raw"] * w["scale"] + w["shift"]
        x = np.maximum(norm(x @ w["layers.0.weight"].T, "layers.1"), 0)
        x = norm(x @ w["layers.3.weight"].T, "layers.4")
        assert abs(x - stored["features"]).max() < 1e-4
        """,
    )


# --- timm ---


def test_timm_reads_the_folder_and_gives_the_same_features(tmp_path, given):
    """And a network with a small stem takes its weights from safetensors, as docs/export.md says."""
    for name, target in (("resnet18", "timm"), ("timm-vit", "timm"), ("small-resnet18", "safetensors")):
        encoder = encoder_of(name)
        given(name, encoder)
        assert find_target(target).export(encoder, tmp_path / name).relative < 1e-4
    told = without_leaven(
        tmp_path,
        """
        import numpy as np, timm, torch
        for name in ("resnet18", "timm-vit"):
            stored = np.load(f"{name}.npz")
            encoder = timm.create_model(f"local-dir:{name}", pretrained=True).eval()
            config = timm.data.resolve_model_data_config(encoder)
            mean, std = (torch.tensor(config[key]).view(-1, 1, 1) for key in ("mean", "std"))
            pixels = (torch.from_numpy(stored["raw"]) / 255 - mean) / std
            with torch.no_grad():
                features = encoder(pixels)
                wanted = torch.from_numpy(stored["features"])
                assert (features - wanted).abs().max() < 1e-4 * wanted.abs().max()
                classifier = timm.create_model(f"local-dir:{name}", pretrained=True, num_classes=7).eval()
                assert classifier(pixels).shape == (17, 7)
                assert torch.equal(classifier.forward_head(classifier.forward_features(pixels), pre_logits=True), features)
            print(name, config["input_size"], encoder.num_classes)

        from safetensors.torch import load_file
        weights, stored = load_file("small-resnet18/model.safetensors"), np.load("small-resnet18.npz")
        network = timm.create_model("resnet18", num_classes=0)
        network.conv1, network.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
        network.load_state_dict({name.removeprefix("network."): w for name, w in weights.items() if name.startswith("network.")})
        with torch.no_grad():
            features = network.eval()(torch.from_numpy(stored["raw"]) / 255 * weights["scale"] + weights["shift"])
        assert (features - torch.from_numpy(stored["features"])).abs().max() < 1e-4
        """,
    )
    assert told.splitlines() == ["resnet18 (3, 32, 32) 0", "timm-vit (3, 32, 32) 0"]


@pytest.mark.parametrize(("name", "told"), [("convnet", "convnet is no timm model"), ("small-resnet18", "encoder.small_stem=false")])
def test_what_timm_cannot_build_is_refused_with_the_targets_that_fit(name, told, tmp_path):
    with pytest.raises(leaven.UserError, match=told) as error:
        find_target("timm").export(encoder_of(name), tmp_path / "exported")
    assert "safetensors or onnx" in str(error.value)
    assert not list(tmp_path.iterdir())


# --- segmentation ---


def test_segmentation_models_pytorch_and_timm_give_the_maps_of_the_encoder(tmp_path):
    pytest.importorskip("segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed")
    encoder = encoder_of("resnet18")
    assert find_target("segmentation").export(encoder, tmp_path / "resnet18").relative < 1e-4
    pixels = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        maps = encoder.network.forward_intermediates(encoder.normalize(pixels), intermediates_only=True)
    np.savez(tmp_path / "maps.npz", pixels=pixels.numpy(), **{f"map{number}": one.numpy() for number, one in enumerate(maps)})
    readme = (tmp_path / "resnet18" / "README.md").read_text()
    with_smp, with_timm = (part.partition("```")[0] for part in readme.split("```python")[1:])
    without_leaven(
        tmp_path / "resnet18",
        "\n".join(
            [
                "import numpy as np, torch",
                "stored = np.load('../maps.npz')",
                "pixels = torch.from_numpy(stored['pixels'])",
                with_smp.replace("masks =", "model.eval()\nmasks ="),
                "assert masks.shape == (2, 2, 64, 96)",
                "for number, one in enumerate(model.encoder((pixels - mean) / std)[1:]):",
                "    assert (one - torch.from_numpy(stored[f'map{number}'])).abs().max() < 1e-4, number",
                with_timm.replace("features_only=True)", "features_only=True).eval()"),
                "assert all((one - torch.from_numpy(stored[f'map{number}'])).abs().max() < 1e-4 for number, one in enumerate(maps))",
            ]
        ),
    )


def test_what_has_no_maps_at_several_scales_is_refused(tmp_path):
    for name, told in (("timm-vit", "has tokens, not maps"), ("convnet", "no timm model"), ("small-resnet18", "small stem")):
        with pytest.raises(leaven.UserError, match=told):
            find_target("segmentation").export(encoder_of(name), tmp_path / "exported")


# --- nothing half-written, nothing lost ---


class Careless(Safetensors):
    """Writes one weight wrongly."""

    def write(self, encoder, out):
        weight = encoder.layers[0].weight
        with torch.no_grad():
            first = weight[0, 0].clone()
            weight[0, 0] = first + 1
            save_encoder(out, encoder)
            weight[0, 0] = first


def test_what_gives_other_features_is_not_kept_and_the_old_one_stays(tmp_path):
    encoder, out = encoder_of("mlp"), tmp_path / "exported"
    Safetensors().export(encoder, out)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(leaven.UserError, match="gives other features"):
        Careless().export(encoder, out, replace=True)
    assert (out / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


class Full(Safetensors):
    """Meets the end of the disk after its first file."""

    def write(self, encoder, out):
        save_encoder(out, encoder)
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_the_old_one_stays(tmp_path):
    encoder, out = encoder_of("mlp"), tmp_path / "exported"
    Safetensors().export(encoder, out)
    with pytest.raises(leaven.UserError, match="the disk is full"):
        Full().export(encoder, out, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"] and load_encoder(out).dim == encoder.dim


def test_the_old_one_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    encoder, out, replace = encoder_of("mlp"), tmp_path / "exported", os.replace
    Safetensors().export(encoder, out)

    def fail(source, target):
        if source.is_dir() and source.suffix == ".partial":
            raise OSError(errno.EIO, "the disk is ill")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="ill"):
        Safetensors().export(encoder, out, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"] and load_encoder(out).dim == encoder.dim


def test_features_that_are_not_finite_are_not_kept(tmp_path):
    encoder = encoder_of("mlp")
    with torch.no_grad():
        encoder.layers[0].weight[0, 0] = float("nan")
    with pytest.raises(leaven.UserError, match="gives other features"):
        Safetensors().export(encoder, tmp_path / "exported")
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_is_left_alone(digits_run, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    leaven.export(digits_run, to="safetensors", out=folder)  # an empty one is free
    for to, out, told in [
        ("safetensors", folder, "not empty"),
        ("safetensors", digits_run.path, "not empty"),
        ("safetensors", folder / "config.json", "there is a file here"),
        ("onnx", folder, "end --out with .onnx"),
        ("onnx", tmp_path / "model.pt", "end --out with .onnx"),
    ]:
        with pytest.raises(leaven.UserError, match=told):
            leaven.export(digits_run, to=to, out=out)
    assert leaven.load(digits_run).dim == 32
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


def test_the_default_place_is_in_the_run_and_is_written_anew(digits_run):
    first = leaven.export(digits_run, to="safetensors")
    assert first.out == digits_run.path / "export" / "safetensors"
    (first.out / "config.json").write_text("{}")
    assert leaven.export(digits_run, to="safetensors").out == first.out
    assert load_encoder(first.out).dim == 32


def test_a_run_with_several_encoders_exports_the_one_that_is_named(tmp_path):
    run = Run(tmp_path / "run")
    run.write_config(MINIMAL_CONFIG)
    encoders = {"picture": encoder_of("convnet"), "numbers": encoder_of("mlp")}
    for role, encoder in encoders.items():
        save_encoder(run.encoder_folder / role, encoder)
    with pytest.raises(leaven.UserError, match="several encoders: numbers, picture"):
        leaven.export(run, to="safetensors")
    for role, encoder in encoders.items():
        found = leaven.export(run, to="safetensors", role=role)
        raw = encoder.modality.example(encoder.input, 2, torch.Generator())
        assert found.out.name == f"safetensors-{role}" and found.dim == encoder.dim
        assert torch.equal(load_encoder(found.out)(raw), encoder(raw))


# --- the command ---


def test_the_command_writes_one_json_object_and_a_file_that_onnxruntime_runs(command, digits_run, tmp_path):
    import onnxruntime

    status, out, _ = command("export", digits_run.path, "--to", "onnx", "--out", tmp_path / "digits.onnx", "--json")
    told = json.loads(out)
    assert status == 0
    encoder = leaven.load(digits_run)
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    assert (told["out"], told["to"], told["count"], told["dim"]) == (str(tmp_path / "digits.onnx"), "onnx", parameters, 32)
    assert told["difference"].keys() == {"absolute", "relative"}
    pixels = leaven.data.open_data("demo:digits").rows["x"][slice(5)].pixels
    features = onnxruntime.InferenceSession(told["out"]).run(None, {"pixels": pixels.numpy()})[0]
    with torch.no_grad():
        assert np.allclose(features, encoder(pixels).numpy(), atol=1e-4)


def test_the_command_tells_people_where_it_went(command, digits_run):
    status, out, _ = command("export", digits_run.path, "--to", "safetensors")
    assert status == 0
    assert out.startswith(f"{digits_run.path / 'export' / 'safetensors'}: ") and "32 features, equal to the encoder's" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "onxx"], "did you mean onnx"),
        (["--to", "pdf"], "choose onnx, safetensors, segmentation, sentence-transformers, timm"),
        (["--to", "onnx", "--set", "opsets=20"], "onnx has no setting 'opsets'"),
        (["--to", "onnx", "--set", "opset=high"], "opset takes a whole number"),
        (["--to", "onnx", "--set", "opset=11"], "choose 18 or newer"),
        (["--to", "onnx", "--set", "pixels=int"], "uint8 or float"),
        (["--to", "timm", "--set", "x=1"], "it has none"),
        (["--to", "timm"], "convnet is no timm model"),
        (["--to", "safetensors", "--role", "anchor"], "no encoder is named 'anchor'"),
    ],
)
def test_wrong_input_is_one_clear_line_and_status_2(words, told, command, digits_run):
    status, out, err = command("export", digits_run.path, *words)
    assert status == 2
    assert told in err.strip().splitlines()[-1] and "Traceback" not in err and not out


def test_a_folder_without_a_run_is_told(command, tmp_path):
    status, _, err = command("export", tmp_path, "--to", "onnx")
    assert status == 2 and "no run here" in err
