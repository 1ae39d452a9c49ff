"""`--dump-dir`: the graph as text and as a drawing after every pass, numbered in their order."""

from pathlib import Path

import pytest
import torch

from lwc.dump import dump_to
from lwc.errors import BadInputError
from lwc.pipeline import Pipeline, run_pipeline
from tests.programs import Compute, program_of


def test_files_for_the_trace_and_for_each_pass(tmp_path: Path, rng: torch.Generator) -> None:
    folder = tmp_path / "some" / "dump"
    convolution = torch.nn.Conv2d(3, 4, 3)
    program = program_of(Compute(lambda c, x: c(x).relu(), convolution), (1, 3, 8, 8), rng=rng)
    pipeline = Pipeline.parse("raise-operators,fuse-activation")
    run_pipeline(pipeline, program, (dump_to(folder),))
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [
        "00_trace.dot",
        "00_trace.txt",
        "01_raise-operators.dot",
        "01_raise-operators.txt",
        "02_fuse-activation.dot",
        "02_fuse-activation.txt",
    ]
    for text in (files[0::2], files[1::2]):
        show_the_graphs(*(path.read_text() for path in text))


def show_the_graphs(traced: str, raised: str, fused: str) -> None:
    """Each text has the operators that are left after its pass."""
    assert "aten.conv2d" in traced
    assert "aten.relu" in traced
    assert "lwc.conv2d" in raised
    assert "aten.relu" in raised
    assert "aten.relu" not in fused


def test_an_older_dump_is_overwritten(tmp_path: Path, rng: torch.Generator) -> None:
    (tmp_path / "00_trace.txt").write_text("old")
    program = program_of(Compute(lambda x: x.relu()), (1, 3), rng=rng)
    run_pipeline(Pipeline.parse("remove-identities"), program, (dump_to(tmp_path),))
    assert "aten.relu" in (tmp_path / "00_trace.txt").read_text()


def test_a_longer_dump_leaves_nothing_behind(tmp_path: Path, rng: torch.Generator) -> None:
    program = program_of(Compute(lambda x: x.relu()), (1, 3), rng=rng)
    run_pipeline(Pipeline.parse("fold-constants,raise-operators"), program, (dump_to(tmp_path),))
    (tmp_path / "03_notes.txt").write_text("mine")
    run_pipeline(Pipeline.parse("remove-identities"), program, (dump_to(tmp_path),))
    assert sorted(path.name for path in tmp_path.glob("0[12]*.txt")) == ["01_remove-identities.txt"]
    assert (tmp_path / "03_notes.txt").read_text() == "mine"


def test_files_that_only_look_alike_stay(tmp_path: Path) -> None:
    names = ("10_notes.txt", "11_drawing.dot", "2024_report.txt", "2024_report.dot")
    for name in names:
        (tmp_path / name).write_text("mine")
    dump_to(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("place", ["file", "file/dump", "n" * 300, "/proc/dump", "nul\0"])
def test_a_place_that_cannot_be_written_is_refused_before_the_first_pass(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="choose another --dump-dir"):
        dump_to(tmp_path / place)


def test_a_drawing_has_a_cluster_for_each_module(tmp_path: Path, rng: torch.Generator) -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Sigmoid(), torch.nn.ReLU())
    program = program_of(layers, (1, 3, 8, 8), rng=rng)
    run_pipeline(Pipeline.parse("raise-operators,fuse-activation"), program, (dump_to(tmp_path),))
    for name, clusters in [("00_trace.dot", 3), ("02_fuse-activation.dot", 1)]:
        dot = (tmp_path / name).read_text()
        assert dot.startswith("digraph ")
        assert dot.count("{") == dot.count("}") == 1 + clusters
        assert 'label="0";' in dot
