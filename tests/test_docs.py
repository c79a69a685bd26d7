"""The documentation is true: every code block runs, the reference is complete, and the site needs no network."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import leaven
from leaven import cli
from leaven.encoders import OWN
from leaven.evaluation.registry import registry
from leaven.modalities import MODALITIES
from leaven.views.views import KINDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "reference")]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SET_UP = ("pip install", "uv run --all-extras pytest")  # what CI itself does
LENGTH, SEEDS = re.compile(r"--budget \S+"), re.compile(r"--seeds \d+")
REGISTRIES = (MODALITIES, OWN, KINDS, registry())  # a reader's own files add to them
LONG = ("pretrain", "finetune", "evaluate")  # commands that take minutes without a length


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """What a reader has: pictures, their masks and boxes, tables of labels and captions, sentences, labeled sentences, and recordings."""
    random, lines, captions = np.random.default_rng(0), ["file,label"], ["file,name,label"]
    boxes = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "upper half"}]}
    for number in range(60):
        pixels = random.integers(0, 90, (24, 24, 3), dtype=np.uint8)
        pixels[..., number % 3] += 150
        file = Path(f"batch{number % 4}" if number < 56 else ".", f"{number}.png")
        place = tmp_path / "path" / "to" / "pictures" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
        mask = tmp_path / "path" / "to" / "masks" / file
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.arange(24) // 12)[:, None].repeat(24, 1).astype(np.uint8)).save(mask)
        boxes["images"].append({"id": number, "file_name": str(file)})
        boxes["annotations"].append({"id": number + 1, "image_id": number, "category_id": 1, "bbox": [0, 0, 24, 12]})
        colour = ("red", "green", "blue")[number % 3]
        lines.append(f"{file},{colour}")
        captions.append(f"pictures/{file},a {colour} picture of group {number % 4},{colour}")
    (tmp_path / "path" / "to" / "boxes.json").write_text(json.dumps(boxes))
    (tmp_path / "labels.csv").write_text("\n".join(lines[:-8]))  # some have no label
    (tmp_path / "path" / "to" / "captions.csv").write_text("\n".join(captions))
    words = ("a cat", "the dog", "my neighbour"), ("watches", "fears", "likes"), ("the rain", "a train", "old films", "the sea")
    sentences = [(" ".join(sentence), sentence[1]) for sentence in product(*words)]
    (tmp_path / "path" / "to" / "sentences.txt").write_text("".join(f"{sentence}\n" for sentence, _ in sentences))
    labeled = "".join(f"{sentence},{verb}\n" for sentence, verb in sentences)
    (tmp_path / "path" / "to" / "labeled.csv").write_text(f"text,label\n{labeled}")
    meals = [
        f'"{who} serves {food}, {area}.","name[{who}], food[{food}], area[{area}]"' for who, food, area in product("ABC", ("fish", "soup"), "xyz")
    ]
    (tmp_path / "path" / "to" / "restaurants.csv").write_text("\n".join(["ref,mr", *meals]))
    (tmp_path / "path" / "to" / "recordings").mkdir()
    sounds = ["file,recording"]
    for digit, speaker, take in product(range(8), ("ann", "bob", "eve"), range(2)):
        tone = 0.3 * np.sin(2 * np.pi * (200 + 100 * digit) * np.arange(2400) / 8000) + 0.02 * random.normal(size=2400)
        soundfile.write(tmp_path / "path" / "to" / "recordings" / f"{digit}_{speaker}_{take}.wav", tone, 8000)
        sounds.append(f"pictures/batch{digit % 4}/{digit}.png,recordings/{digit}_{speaker}_{take}.wav")
    (tmp_path / "path" / "to" / "sounds.csv").write_text("\n".join(sounds))
    monkeypatch.setattr("leaven.evaluation.protocols.few_label.FLOOR_STEPS", 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # where the reader's own files are
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    before = [dict(registered) for registered in REGISTRIES]
    yield monkeypatch
    for entries, registered in zip(before, REGISTRIES, strict=True):
        registered.clear()
        registered.update(entries)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def shell(line, reader):
    """Run a command: `leaven` in this process, which has torch loaded; any other in a shell."""
    command = SEEDS.sub("--seeds 1", LENGTH.sub("--budget 3s", line))
    words = shlex.split(command)
    if words[0] != "leaven":
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
        return
    if words[1] in LONG and not {"--budget", "--steps", "--epochs"} & set(words):
        words += ["--budget", "3s"]
    reader.setattr(sys, "argv", words)
    try:
        cli.main()
    except SystemExit as end:
        pytest.fail(f"{line}\nended with {end.code}")


SLOW = ("reproduce",)  # its claims run in tests/test_reproductions.py
MARKED = [pytest.param(page, marks=pytest.mark.slow) if page.stem in SLOW else page for page in PAGES]


@pytest.mark.parametrize("page", MARKED, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_one_after_another(page, reader):
    for language, info, text in BLOCK.findall(page.read_text()):
        if language == "bash":
            for line in text.splitlines():
                if line.strip() and not line.startswith(SET_UP):
                    shell(line, reader)
        elif language == "python" and (title := re.search(r'title="([^"]+)"', info)):
            if (ROOT / title[1]).is_file():
                assert text == (ROOT / title[1]).read_text()
            else:
                Path(title[1]).write_text(text)  # a file of the reader's own
        elif language == "python":
            exec(compile(text, str(page), "exec"), {})
        else:
            assert language == "text", f"a block of {language} is not tested"


def test_no_block_hides_from_the_test_by_its_indentation():
    assert not [page.name for page in PAGES if re.search(r"^[ \t]+```", page.read_text(), re.MULTILINE)]


def test_links_within_the_documentation_lead_somewhere():
    written = {DOCS / "reference" / f"{name}.md" for name in generator().pages()}
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            place = page.parent / target
            assert place in written or place.exists(), f"{page.name}: {target}"


def test_the_navigation_holds_every_page_once():
    def files(entry):
        if isinstance(entry, str):
            return [entry]
        return [file for inner in (entry.values() if isinstance(entry, dict) else entry) for file in files(inner)]

    listed = files(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    pages = [str(page.relative_to(DOCS)) for page in PAGES[1:]] + [f"reference/{name}.md" for name in generator().pages()]
    assert sorted(listed) == sorted(pages)


def test_the_reference_holds_every_command_option_method_encoder_modality_protocol_and_public_name():
    import typer

    pages = generator().pages()
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        section = re.search(rf"^## leaven {name}$(.*?)(?=^## |\Z)", pages["commands"], re.MULTILINE | re.DOTALL)[1]
        for parameter in command.params:
            wanted = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name.upper()
            assert re.search(rf"^\| `{wanted}\b[^|]*` \| \S", section, re.MULTILINE), f"leaven {name} {wanted}"
    lists = ("methods", "###", leaven.list_methods()), ("encoders", "##", leaven.list_encoders()), ("protocols", "##", leaven.list_protocols())
    for page, heading, listed in lists:
        for entry in listed:
            if page == "encoders" and not OWN[entry["name"]].__module__.startswith("leaven."):
                continue  # another test's own
            section = re.search(rf"^{heading} {entry['name']}$(.*?)(?=^#|\Z)", pages[page], re.MULTILINE | re.DOTALL)[1]
            assert entry["summary"] in section
            assert entry.get("paper", "") in section
            for setting in entry["options" if page == "protocols" else "parameters"]:
                assert f"{setting}`" in section, f"{entry['name']}: {setting}"
                assert entry["meanings"][setting].replace("|", "\\|") in section, f"{entry['name']}: {setting}"
    for name in MODALITIES:
        assert f"`{name}`" in pages["modalities"]
    documented = re.findall(r"^::: leaven\.(\w+)$", pages["python"], re.MULTILINE)
    assert sorted(documented) == sorted(name for name in leaven.__all__ if not name.startswith("_"))


def test_every_verdict_is_explained():
    code = "\n".join(path.read_text() for path in (ROOT / "src" / "leaven" / "training").glob("*.py"))
    verdicts = set(re.findall(r'(?:Verdict\(|suspect\(step, )"([^"]+)"', code)) - {"stopped"}  # of another process of the same training
    assert len(verdicts) >= 4
    assert verdicts <= set(re.findall(r"^## (.+)$", (DOCS / "verdicts.md").read_text(), re.MULTILINE))


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("zensical")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    generator().main(tmp_path / "docs" / "reference")
    build = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert build.returncode == 0, re.sub(r"\x1b\[[0-9;]*m", "", build.stdout) + build.stderr[-500:]
    loaded = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']?https?://|@import\s+["']?http|url\(["']?http""")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert {page.name for page in pages} >= {"index.html", "tutorial.html", "python.html"}
    assert not [page.name for page in (*pages, *(tmp_path / "site").rglob("*.css")) if loaded.search(page.read_text())]
