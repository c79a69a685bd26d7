"""The rooms of the house keep to themselves: what only one kind of data knows stays in its files."""

import ast
from pathlib import Path

import pytest

import leaven

HOUSE = Path(leaven.__file__).parent
KINDS = {"Pixels", "Text", "Tokens", "Wave", "Signal", "Vector", "Counts"}
OF_ONE_KIND = (
    "modalities/", "data/sources/", "views/",
    "data/open.py", "data/picture_cache.py", "data/recording_cache.py", "data/undecoded.py", "data/rewriting.py",
    "encoders/lab.py", "encoders/over_time.py", "encoders/text_reader.py", "encoders/transformer.py", "encoders/word_vectors.py",
    "methods/text/", "modules/text.py", "training/tokenization.py",
)  # fmt: skip
"""Files that read one kind of data, by their names or since they are readers."""


def kinds_asked_for(path):
    """The lines in which a file asks which kind of data it has."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            names = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)} | {
                name.attr for name in ast.walk(node.args[1]) if isinstance(name, ast.Attribute)
            }
            if names & KINDS:
                yield node.lineno
        if isinstance(node, ast.Compare):
            constants = [each.value for side in (node.left, *node.comparators) for each in ast.walk(side) if isinstance(each, ast.Constant)]
            if any("modality" in ast.dump(side) for side in (node.left, *node.comparators)) and any(isinstance(each, str) for each in constants):
                yield node.lineno
        if isinstance(node, ast.match_case) and isinstance(node.pattern, ast.MatchClass) and getattr(node.pattern.cls, "id", "") in KINDS:
            yield node.pattern.lineno


@pytest.mark.parametrize("path", [path for path in sorted(HOUSE.rglob("*.py")) if not str(path.relative_to(HOUSE)).startswith(OF_ONE_KIND)], ids=str)
def test_no_room_asks_which_kind_of_data_it_has(path):
    assert list(kinds_asked_for(path)) == [] and "picture_options" not in path.read_text()


def test_such_questions_are_found(tmp_path):
    asking = tmp_path / "asking.py"
    asking.write_text('if isinstance(value, Pixels | Text): pass\nif spec.modality != "text": pass\nmatch value:\n    case Vector(): pass\n')
    assert sorted(kinds_asked_for(asking)) == [1, 2, 4]
