"""A pipeline's text form gives the same pipeline again."""

import random
from pathlib import Path
from typing import Any

import pytest

from lwc.pipeline import DEFAULT, Pass, Pipeline, make_pass
from lwc.rewriting import PassOptions
from tests.pipeline.plugins import GOOD, Install, Write
from tests.pipeline.test_plugin_python import Mine


def assert_round_trip(pipeline: Pipeline) -> None:
    """The text gives the pipeline, and the pipeline the text."""
    again = Pipeline.parse(str(pipeline))
    assert again == pipeline
    assert str(again) == str(pipeline)
    assert pipeline.has_text()


def test_the_default_and_what_pruning_makes_of_it() -> None:
    assert_round_trip(Pipeline.parse("default"))
    assert_round_trip(PassOptions(prune=0.25).pipeline())


def file_name(draw: random.Random) -> str:
    """A name of what a shell, a path or the text form could take for something else."""
    return "".join(draw.choices(" -=:'\"$*;&|\\()[]#~\u00e9", k=8)) + ".py"


def free_pass(draw: random.Random, spec: str) -> Pass[Any]:
    """A pass that needs none before it, of lwc or from a file, with options."""
    number = draw.choice([0, 9, 1 << 22, draw.randrange(10**12)])
    texts = [
        "remove-identities",
        f"fold-constants{{max-elements={number}}}",
        spec,
        f"{spec}{{fast={draw.choice(['true', 'False'])},option={number % 10}}}",
    ]
    return Pipeline.parse(draw.choice(texts)).passes[0]


def test_random_pipelines(seed: int, write: Write) -> None:
    draw = random.Random(seed)
    spec = write(file=file_name(draw))
    for _ in range(50):
        passes = [make_pass(name) for name in DEFAULT if draw.random() < 0.8 or name == "raise-operators"]
        for _ in range(draw.randrange(4)):
            passes.insert(draw.randrange(len(passes) + 1), free_pass(draw, spec))
        assert_round_trip(Pipeline(tuple(passes)))


def test_a_file_by_any_of_its_paths(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for other in ("my_pass.py:MyPass", "./my_pass.py:MyPass", "~/my_pass.py:MyPass"):
        assert Pipeline.parse(other) == Pipeline.parse(spec)
        assert str(Pipeline.parse(other)) == spec


def test_a_file_that_changed_is_another_pass(write: Write) -> None:
    old = Pipeline.parse(write())
    write(GOOD.replace("fast: bool = False", "fast: bool = True "))
    assert not old.has_text()
    assert Pipeline.parse(str(old)).passes[0] != old.passes[0]


def test_an_installed_pass_by_its_name(install: Install) -> None:
    install()
    pipeline = Pipeline.parse("fold-constants,my-pass{option=3}")
    assert str(pipeline) == "fold-constants,my-pass{option=3}"
    assert_round_trip(pipeline)


def test_a_class_that_python_alone_knows_has_no_text() -> None:
    pipeline = Pipeline.parse("fold-constants").insert_after("fold-constants", Mine())
    assert str(pipeline) == "fold-constants,mine"
    assert not pipeline.has_text()


@pytest.mark.parametrize("word", ["a,b", "{", "}", " a"])
def test_an_option_that_would_be_read_as_something_else_has_no_text(word: str, write: Write) -> None:
    text = GOOD.replace("fast: bool = False", 'word: str = ""')
    (made,) = Pipeline.parse(write(text) + "{word=a b=c}").passes
    assert_round_trip(Pipeline((made,)))
    assert not Pipeline((type(made)(word=word),)).has_text()  # type: ignore[call-arg]
