"""Each pass on a small example: the graph before and after is the text in golden/NAME.txt."""

from difflib import unified_diff
from pathlib import Path

import pytest

from lwc.pipeline.registry import PASSES
from tests.passes.golden_examples import EXAMPLES

FOLDER = Path(__file__).parent / "golden"
UPDATE = "python -m pytest tests/passes/test_golden.py --update-golden"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_graph_before_and_after(name: str, request: pytest.FixtureRequest) -> None:
    path, text = FOLDER / f"{name}.txt", EXAMPLES[name].text(name)
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    kept = path.read_text() if path.exists() else ""
    if kept != text:
        lines = unified_diff(kept.splitlines(), text.splitlines(), f"golden/{path.name}", "now", lineterm="")
        pytest.fail("\n".join([f"another graph; if it is meant, run `{UPDATE}`:", *lines]), pytrace=False)


def test_every_pass_has_an_example() -> None:
    assert set(EXAMPLES) == set(PASSES), "add an Example for each pass to tests/passes/golden_examples.py"


def test_every_text_has_an_example() -> None:
    texts = {path.stem for path in FOLDER.glob("*.txt")}
    assert texts <= set(EXAMPLES), "remove the text of a pass that is gone from tests/passes/golden"
