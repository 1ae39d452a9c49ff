"""Passes from an installed package."""

from pathlib import Path

import pytest

from lwc.errors import BadInputError
from lwc.passes.fold_constants import FoldConstants
from lwc.pipeline import DEFAULT, Pipeline, make_pass, run_pipeline
from lwc.trace import Program
from tests.pipeline.plugins import GOOD, Install, Write, line_of, names


def test_an_installed_pass_is_known_by_its_name(install: Install, program: Program) -> None:
    install()
    assert make_pass("my-pass", {"option": "3"}).name == "my-pass"
    pipeline = Pipeline.parse("default", extra=["my-pass{option=1},before=fold-constants"])
    at = DEFAULT.index("fold-constants")
    assert names(pipeline) == [*DEFAULT[:at], "my-pass", *DEFAULT[at:]]
    _, (record,) = run_pipeline(Pipeline.parse("my-pass"), program)
    assert record.count == 2


def test_an_installed_pass_runs_only_when_asked_for(install: Install) -> None:
    install()
    assert "my-pass" not in names(Pipeline.parse("default"))


BROKEN_PACKAGES: dict[str, tuple[dict[str, str], str]] = {
    "import that raises": (
        {"text": "1 / 0"},
        "cannot be imported (ZeroDivisionError: division by zero); mend the package, or uninstall it",
    ),
    "import that exits": ({"text": "import sys; sys.exit(3)"}, "cannot be imported (SystemExit: 3)"),
    "import that ends a generator": (
        {"text": "raise GeneratorExit(3)"},
        "cannot be imported (GeneratorExit: 3)",
    ),
    "no module": ({"value": "no_such_module:A"}, "cannot be imported (ModuleNotFoundError: No module named"),
    "no class": ({"text": ""}, "cannot be imported (AttributeError: "),
    "a module": ({"value": "alpha_module_of_a_test"}, "is not a class that derives from lwc.pipeline.Pass"),
    "malformed value": ({"value": "a b"}, "cannot be imported ("),
    "another name": ({"name": "your-pass"}, "its class has the name 'my-pass'"),
    "not frozen": ({"text": GOOD.replace("@dataclass(frozen=True)", "")}, "is not a frozen dataclass"),
}


@pytest.mark.parametrize("case", BROKEN_PACKAGES)
def test_a_broken_package(install: Install, case: str) -> None:
    keywords, want = BROKEN_PACKAGES[case]
    install(**keywords)
    name = keywords.get("name", "my-pass")
    line = line_of(BadInputError, lambda: Pipeline.parse("default", extra=[name]))
    assert line.startswith(f"pass {name!r} ({keywords.get('value', 'alpha_module_of_a_test')}")
    assert want in line


def test_a_broken_package_does_no_harm_unless_asked_for(install: Install) -> None:
    install("1 / 0")
    assert names(Pipeline.parse("default")) == list(DEFAULT)


def test_names_clash(install: Install, write: Write) -> None:
    install()
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(write()))
    assert line.endswith("has the name of another pass (alpha_module_of_a_test:MyPass); rename it")
    install(package="beta")
    line = line_of(BadInputError, lambda: Pipeline.parse("my-pass"))
    assert "alpha_module_of_a_test:MyPass" in line
    assert "beta_module_of_a_test:MyPass" in line


def test_packages_that_clash_do_no_harm_unless_asked_for(install: Install, write: Write) -> None:
    install()
    install(package="beta")
    install(GOOD.replace("my-pass", "your-pass"), package="gamma", name="your-pass")
    assert names(Pipeline.parse("default")) == list(DEFAULT)
    assert names(Pipeline.parse("your-pass")) == ["your-pass"]
    assert names(Pipeline(()).with_pass(write(GOOD.replace("my-pass", "other")))) == ["other"]


def test_a_package_with_the_name_of_a_pass_of_lwc_leaves_that_as_it_is(install: Install) -> None:
    install(GOOD.replace("my-pass", "fold-constants"), name="fold-constants")
    assert isinstance(Pipeline.parse("fold-constants").passes[0], FoldConstants)
    assert names(Pipeline.parse("default")) == list(DEFAULT)


def test_entry_points_that_cannot_be_read(install: Install, tmp_path: Path) -> None:
    install()
    (tmp_path / "site" / "alpha-1.0.dist-info" / "entry_points.txt").write_text("[lwc.passes]\nnonsense\n")
    assert names(Pipeline.parse("default")) == list(DEFAULT)
    line = line_of(BadInputError, lambda: Pipeline.parse("my-pass"))
    assert line.startswith("installed packages: an entry_points.txt is malformed (")
