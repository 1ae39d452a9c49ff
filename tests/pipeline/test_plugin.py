"""Passes from a file, from an installed package and from Python, and what is said of those that cannot be used."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import fx

from lwc.errors import BadInputError, LwcError, UsageError, VerificationError
from lwc.graph import aten
from lwc.pipeline import DEFAULT, Pass, Pipeline, make_pass, run_pipeline
from lwc.pipeline.verify import Verifier
from lwc.trace import Program
from tests.programs import operators, program_of

HEAD = """\
from dataclasses import dataclass
from typing import ClassVar
from lwc.graph import aten
from lwc.pipeline import Pass

"""
GOOD = f'''{HEAD}
@dataclass(frozen=True)
class MyPass(Pass):
    """ReLU becomes a clamp."""

    name: ClassVar[str] = "my-pass"
    option: int = 0
    fast: bool = False

    def __post_init__(self):
        if self.option > 9:
            raise ValueError("option is above 9")

    def match(self, program, node):
        return node if node.target is aten.relu.default else None

    def refuse(self, program, match):
        return "it is too old" if self.option == 7 else None

    def rewrite(self, program, match):
        match.target = aten.clamp_min.default
        match.args = (match.args[0], 0)
'''

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a plug-in and gives its spec."""

    def call(text: str = GOOD, file: str = "my_pass.py") -> str:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return f"{path}:MyPass"

    return call


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with one module and one entry point where Python finds it."""

    def call(text: str = GOOD, package: str = "alpha", name: str = "my-pass", value: str = "") -> None:
        site = tmp_path / "site"
        information = site / f"{package}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        value = value or f"{package}_module_of_a_test:MyPass"
        (information / "entry_points.txt").write_text(f"[lwc.passes]\n{name} = {value}\n")
        (site / f"{package}_module_of_a_test.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"{package}_module_of_a_test", raising=False)
        monkeypatch.syspath_prepend(str(site))

    return call


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """Two ReLUs."""
    return program_of(lambda x: (x.relu() + 1).relu(), (8, 9), rng=rng)


def names(pipeline: Pipeline) -> list[str]:
    """The passes in order."""
    return [item.name for item in pipeline.passes]


def line_of(error: type[LwcError], call: Callable[[], Any]) -> str:
    """The one line of the `error` that `call` raises."""
    with pytest.raises(error) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert " at 0x" not in line
    return line


# From a file.


def test_a_file_goes_where_it_is_put(write: Write) -> None:
    spec = write()
    first, last = Pipeline.parse("default,-fold-padding").passes[0], make_pass(DEFAULT[-1])
    default = Pipeline.parse("default")
    at = DEFAULT.index("fold-batch-norm")
    assert names(default.with_pass(spec)) == [*DEFAULT, "my-pass"]
    after = Pipeline.parse("default", extra=[f"{spec},after=fold-batch-norm"])
    assert names(after) == [*DEFAULT[: at + 1], "my-pass", *DEFAULT[at + 1 :]]
    before = Pipeline.parse("default", extra=[f"{spec},before=fold-batch-norm"])
    assert names(before) == [*DEFAULT[:at], "my-pass", *DEFAULT[at:]]
    assert (before.passes[0], before.passes[-1]) == (first, last)


def test_a_file_takes_options(write: Write, program: Program) -> None:
    pipeline = Pipeline.parse("default", extra=[f"{write()}{{option=7,fast=true}},after=fold-batch-norm"])
    assert "my-pass{option=7,fast=True}" in str(pipeline)
    _, records = run_pipeline(pipeline, program)
    (record,) = (record for record in records if record.name == "my-pass")
    assert [refusal.reason for refusal in record.refusals] == ["it is too old"] * 2


def test_a_file_rewrites_and_is_verified(write: Write, program: Program) -> None:
    verifier = Verifier(program)
    after, (record,) = run_pipeline(Pipeline(()).with_pass(write()), program, (verifier,))
    assert record.count == 2
    assert operators(after).count("aten.clamp_min.default") == 2
    assert verifier.checks[1].error <= verifier.checks[1].limit


def test_a_file_stands_in_a_list_of_passes_and_can_be_taken_out(write: Write) -> None:
    spec = write()
    assert names(Pipeline.parse(f"fold-constants,{spec}{{option=1}}")) == ["fold-constants", "my-pass"]
    assert names(Pipeline.parse(f"fold-constants,{spec},-my-pass")) == ["fold-constants"]


def test_a_file_may_be_given_twice_and_be_the_place_of_another(write: Write) -> None:
    spec = write()
    other = write(GOOD.replace("my-pass", "other"), "other.py")
    pipeline = Pipeline.parse(
        "fold-constants", extra=[spec, f"{spec}{{option=1}}", f"{other},before=my-pass"]
    )
    assert str(pipeline) == "fold-constants,other,my-pass,my-pass{option=1}"


def test_a_file_that_changed_is_read_anew(write: Write) -> None:
    Pipeline.parse("default", extra=[write()])
    assert names(Pipeline(()).with_pass(write(GOOD.replace("my-pass", "my-changed-pass")))) == [
        "my-changed-pass"
    ]


@pytest.mark.parametrize("file", ["a:b.py", "with space.py", "ü.py", "my.pass.py", "-pass.py", "a=b.py"])
def test_paths_of_all_kinds(write: Write, file: str) -> None:
    assert names(Pipeline(()).with_pass(write(file=file))) == ["my-pass"]


def test_a_home_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(Pipeline(()).with_pass("~/my_pass.py:MyPass")) == ["my-pass"]


def test_annotations_as_text(write: Write) -> None:
    pipeline = Pipeline(()).with_pass(write(f"from __future__ import annotations\n{GOOD}") + "{option=3}")
    assert str(pipeline) == "my-pass{option=3}"


# From an installed package.


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
        "cannot be imported (ZeroDivisionError: division by zero); mend the plug-in, or leave it out",
    ),
    "import that exits": ({"text": "import sys; sys.exit(3)"}, "cannot be imported (SystemExit: 3)"),
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


def test_a_package_with_the_name_of_a_pass_of_lwc(install: Install) -> None:
    install(name="fold-constants")
    line = line_of(BadInputError, lambda: Pipeline.parse("default"))
    assert "pass 'fold-constants' (alpha_module_of_a_test:MyPass): has the name of a pass of lwc" in line


def test_entry_points_that_cannot_be_read(install: Install, tmp_path: Path) -> None:
    install()
    (tmp_path / "site" / "alpha-1.0.dist-info" / "entry_points.txt").write_text("[lwc.passes]\nnonsense\n")
    line = line_of(BadInputError, lambda: Pipeline.parse("default"))
    assert line.startswith("installed packages: an entry_points.txt is malformed (")


def test_files_whose_passes_have_one_name(write: Write) -> None:
    mine, other = write(), write(file="other.py")
    line = line_of(BadInputError, lambda: Pipeline.parse("default", extra=[mine, other]))
    assert line == f"pass 'my-pass' ({other}): has the name of another pass ({mine}); rename it"


def test_a_file_whose_pass_has_the_name_of_one_of_lwc(write: Write) -> None:
    spec = write(GOOD.replace("my-pass", "fold-constants"))
    line = line_of(BadInputError, lambda: Pipeline.parse("raise-operators", extra=[spec]))
    assert line == f"pass 'fold-constants' ({spec}): has the name of another pass (lwc's own); rename it"


# From Python.


@dataclass(frozen=True)
class Mine(Pass[fx.Node]):
    """ReLU becomes a clamp."""

    name: ClassVar[str] = "mine"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A ReLU."""
        return node if node.target is aten.relu.default else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the class."""
        match.target, match.args = aten.clamp_min.default, (match.args[0], 0)


def test_passes_are_inserted() -> None:
    pipeline = Pipeline.parse("remove-identities,fold-constants")
    assert names(pipeline.insert_before("fold-constants", Mine())) == [
        "remove-identities", "mine", "fold-constants",
    ]  # fmt: skip
    assert names(pipeline.insert_after("fold-constants", Mine())) == [
        "remove-identities", "fold-constants", "mine",
    ]  # fmt: skip
    assert names(pipeline) == ["remove-identities", "fold-constants"]


def test_a_place_that_is_not_there() -> None:
    for insert in (
        Pipeline.parse("fold-constants").insert_before,
        Pipeline.parse("fold-constants").insert_after,
    ):
        line = line_of(UsageError, lambda insert=insert: insert("fold-padding", Mine()))  # type: ignore[misc]
        assert line == "pass 'fold-padding': not in the pipeline; choose from fold-constants"


def test_a_class_in_place_of_a_pass() -> None:
    want = "pipeline: Mine is a class; write Mine()"
    assert line_of(UsageError, lambda: Pipeline((Mine,))) == want  # type: ignore[arg-type]


def test_something_else_in_place_of_a_pass() -> None:
    want = "pipeline: 'fold-constants' is not a pass; give instances of lwc.pipeline.Pass"
    assert line_of(UsageError, lambda: Pipeline(("fold-constants",))) == want  # type: ignore[arg-type]


def test_a_class_from_python_is_checked_too() -> None:
    class Nameless(Mine):
        pass

    line = line_of(BadInputError, lambda: Pipeline((Nameless(),)))
    assert ":Nameless: is not a frozen dataclass; put @dataclass(frozen=True) before it" in line


# Specs that nobody can read: UsageError.

FORM = "malformed; write FILE.py:Class,after=NAME or FILE.py:Class,before=NAME; no path may have a comma or a brace"
SPECS = {
    "my_pass.py": "pass 'my_pass.py': names no class of a file; write FILE.py:Class",
    "my_pass.py:": "pass 'my_pass.py:': names no class of a file; write FILE.py:Class",
    ":MyPass": "pass ':MyPass': names no class of a file; write FILE.py:Class",
    "my_pass.py:My-Pass": "pass 'my_pass.py:My-Pass': names no class of a file; write FILE.py:Class",
    "my_pass.py:MyPass,MyPass": FORM,
    "a,b.py:MyPass": FORM,
    "my_pass.py:MyPass,after=fold-constants,before=fold-constants": FORM,
    "my_pass.py:MyPass,behind=fold-constants": FORM,
    "my_pass.py:MyPass,after": "pass '': not in the pipeline; choose from ",
    "my_pass.py:MyPass,after=fold-nothing": "pass 'fold-nothing': not in the pipeline; choose from ",
    "": "malformed",
    ",": "malformed",
    "my_pass.py:MyPass{": "malformed; write a,b{option=value},c",
    "my_pass.py:MyPass}": "braces do not match",
    "fold-constant": "pass 'fold-constant': unknown; did you mean fold-constants?",
}


@pytest.mark.parametrize("spec", SPECS)
def test_a_malformed_spec(spec: str) -> None:
    assert SPECS[spec] in line_of(UsageError, lambda: Pipeline.parse("default", extra=[spec]))


OPTIONS = {
    "{option}": "is malformed; write ",
    "{}": "is malformed; write ",
    "{option=1}x": "is malformed; write ",
    "{option=1,option=2}": "option 'option' is given twice; give it once",
    "{option=one}": "pass 'my-pass': option option=one is not int",
    "{fast=maybe}": "pass 'my-pass': option fast=maybe is not bool",
    "{optoin=1}": "pass 'my-pass': no option 'optoin'; it has option, fast",
    "{name=x}": "pass 'my-pass': no option 'name'; it has option, fast",
    "{option=10}": "pass 'my-pass': option is above 9",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_malformed_options(write: Write, options: str) -> None:
    spec = write() + options
    assert OPTIONS[options] in line_of(UsageError, lambda: Pipeline.parse("default", extra=[spec]))


def test_a_file_is_not_run_before_its_place_is_known(write: Write, tmp_path: Path) -> None:
    spec = write(f"open({str(tmp_path / 'ran')!r}, 'w')")
    line_of(UsageError, lambda: Pipeline.parse("default", extra=[f"{spec},after=nothing"]))
    assert not (tmp_path / "ran").exists()


# Files that are no plug-in: BadInputError.


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.py", tmp_path / "no" / "folder.py", tmp_path / "two\nlines.py"):
        line = line_of(BadInputError, lambda path=path: Pipeline(()).with_pass(f"{path}:MyPass"))  # type: ignore[misc]
        assert line.endswith(".py: no such file; write --pass FILE.py:Class")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(f"{tmp_path / 'folder.py'}:MyPass"))
    assert line == f"{tmp_path / 'folder.py'}: no such file; write --pass FILE.py:Class"


@pytest.mark.parametrize("file", ["my_pass", "my_pass.txt", "my_pass.so"])
def test_not_a_python_file(write: Write, file: str) -> None:
    spec = write(file=file)
    want = f"{spec.removesuffix(':MyPass')}: is not a Python file; write --pass FILE.py:Class"
    assert line_of(BadInputError, lambda: Pipeline(()).with_pass(spec)) == want


def test_a_class_that_is_not_there(write: Write) -> None:
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(write().replace(":MyPass", ":MyPas")))
    assert line.endswith("my_pass.py: has no class 'MyPas'; it has MyPass")
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(write("")))
    assert line.endswith("my_pass.py: has no class 'MyPass'; write --pass FILE.py:Class")


IMPORTS = {
    "def broken(:": "cannot be imported (SyntaxError: invalid syntax (my_pass.py, line 1))",
    "raise ValueError('first\\nsecond')": "cannot be imported (ValueError: first second)",
    "import sys; sys.exit('bye')": "cannot be imported (SystemExit: bye)",
    "import no_such_module": "cannot be imported (ModuleNotFoundError: No module named 'no_such_module')",
    "from . import helper": "cannot be imported (ModuleNotFoundError: No module named",
    "\0": "cannot be imported (",
    "def f(): f()\nf()": "cannot be imported (RecursionError: ",
    "def __getattr__(name): 1 / 0": "has no class 'MyPass'",
}


@pytest.mark.parametrize("text", IMPORTS)
def test_a_file_that_cannot_be_imported(write: Write, text: str) -> None:
    spec = write(text)
    before = set(sys.modules)
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(spec))
    assert line.startswith(f"{spec.removesuffix(':MyPass')}: {IMPORTS[text]}")
    assert set(sys.modules) - before <= {spec.removesuffix(":MyPass")}


def changed(old: str, new: str) -> str:
    """The good plug-in with `new` in place of `old`."""
    assert old in GOOD
    return GOOD.replace(old, new)


NAME = 'name: ClassVar[str] = "my-pass"'
CLASSES: dict[str, tuple[str, str]] = {
    "not a class": ("MyPass = 3", "is not a class that derives from lwc.pipeline.Pass"),
    "an instance": (f"{GOOD}\nMyPass = MyPass()", "is not a class that derives from lwc.pipeline.Pass"),
    "another class": (changed("(Pass)", ""), "is not a class that derives from lwc.pipeline.Pass"),
    "Pass itself": ("from lwc.pipeline import Pass as MyPass", "has no name; write name: ClassVar[str] = "),
    "no dataclass": (changed("@dataclass(frozen=True)", ""), "is not a frozen dataclass; put @dataclass(fr"),
    "no name": (changed(NAME, "pass"), "has no name; write name: ClassVar[str] = "),
    "a name without text": (
        changed(NAME, "name: ClassVar[str]"),
        "has no name; write name: ClassVar[str] = ",
    ),
    "a property": (
        changed(NAME, "name = property(lambda self: 'a')"),
        "has no name; write name: ClassVar[str",
    ),
    "a number": (changed('"my-pass"', "3"), "has no name; write name: ClassVar[str] = "),
    "a name that is an option": (
        changed("ClassVar[str]", "str"),
        "its 'name' is an option; write name: ClassVar",
    ),
    "repeat as an option": (
        changed("option: int = 0", "repeat: bool = True"),
        "its 'repeat' is an option; write",
    ),
    "a name with capitals": (changed('"my-pass"', '"MyPass"'), "its name is 'MyPass', not lower-case words"),
    "a name with underscores": (
        changed('"my-pass"', '"my_pass"'),
        "its name is 'my_pass', not lower-case wor",
    ),
    "an empty name": (changed('"my-pass"', '""'), "its name is '', not lower-case words joined by hyphens"),
    "a name with a line feed": (changed('"my-pass"', '"a\\n"'), "its name is 'a\\n', not lower-case words"),
    "requires as text": (
        changed(NAME, f'{NAME}; requires = "fold-padding"'),
        "its 'requires' is not a tuple of n",
    ),
    "introduces as list": (
        changed(NAME, f"{NAME}; introduces = []"),
        "its 'introduces' is not a tuple of names",
    ),
    "no rewrite": (changed("def rewrite", "def rewrites"), "does not define rewrite"),
    "no match": (changed("def match", "def matches"), "does not define match"),
    "rewrite is not a method": (
        changed("def rewrite", "rewrite = 3\n    def rewrites"),
        "its 'rewrite' is not a ",
    ),
    "an option as tuple": (
        changed("option: int = 0", "option: tuple = ()"),
        "its option 'option' has no default",
    ),
    "an option of none": (
        changed("option: int = 0", "option: int | None = None"),
        "its option 'option' has no def",
    ),
    "an option without default": (
        changed("option: int = 0\n    fast: bool = False", "option: int"),
        "its option 'opt",
    ),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_class_that_is_no_pass(write: Write, case: str) -> None:
    text, want = CLASSES[case]
    spec = write(text)
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(spec))
    assert line.startswith(f"{spec}: {want}")
    assert line.endswith("; mend the plug-in, or leave it out")


ENTRY = "cannot inherit non-frozen dataclass from a frozen one"
ABSTRACT = changed("(Pass)", "(Pass, ABC)").replace("def refuse", "@abstractmethod\n    def refuse")
FAULTS_AT_THE_START: dict[str, tuple[str, str]] = {
    "not frozen": (changed("(frozen=True)", ""), f"cannot be imported (TypeError: {ENTRY})"),
    "cannot be made": (
        changed("if self.option > 9:", "if True:"),
        "cannot be made (ValueError: option is above 9)",
    ),
    "abstract": (
        f"from abc import ABC, abstractmethod\n{ABSTRACT}",
        "cannot be made (TypeError: Can't instantiate abstract class",
    ),
}


@pytest.mark.parametrize("case", FAULTS_AT_THE_START)
def test_a_class_that_cannot_be_used(write: Write, case: str) -> None:
    text, want = FAULTS_AT_THE_START[case]
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(write(text)))
    assert "my_pass.py" in line
    assert want in line


def test_a_pass_before_what_it_needs(write: Write) -> None:
    spec = write(changed(NAME, f'{NAME}; requires = ("raise-operators",)'))
    assert "my-pass" in names(Pipeline.parse("default", extra=[spec]))
    line = line_of(UsageError, lambda: Pipeline.parse("default", extra=[f"{spec},before=raise-operators"]))
    assert line == "pass 'my-pass': needs 'raise-operators' before it; add it, or leave both out"


# Passes that fail when they run: BadInputError.

MATCH = "return node if node.target is aten.relu.default else None"
REFUSE = 'return "it is too old" if self.option == 7 else None'
REWRITE = "match.target = aten.clamp_min.default\n        match.args = (match.args[0], 0)"
RUNS: dict[str, tuple[str, str]] = {
    "match raises": (
        changed(MATCH, "raise ValueError('a\\nb')"),
        "failed in match (ValueError: a b)",
    ),
    "match without program": (changed("match(self, program, node)", "match(self, node)"), "(TypeError: "),
    "match says whether": (
        changed(MATCH, "return node.target is aten.relu.default"),
        "match returned False at",
    ),
    "refuse raises": (
        changed(REFUSE, "return match.no_such"),
        "failed in refuse of node 'relu' (AttributeError: ",
    ),
    "refuse says whether": (changed(REFUSE, "return True"), "refuse returned True, not a sentence or None"),
    "rewrite raises": (
        changed(REWRITE, "raise KeyError(3)"),
        "failed in rewrite of node 'relu' (KeyError: 3)",
    ),
    "ends the process": (
        changed(REWRITE, "raise SystemExit(3)"),
        "failed in rewrite of node 'relu' (SystemExit: 3)",
    ),
    "refuses without a reason": (changed(REFUSE, "return ''"), "refuse returned '', not a sentence or None"),
    "refuses in two lines": (changed(REFUSE, "return 'a\\nb'"), "not a sentence or None"),
    "erases the output": (
        changed(
            REWRITE,
            "[program.module.graph.erase_node(n) for n in program.module.graph.find_nodes(op='output')]",
        ),
        "left a graph that does not run (ValueError: it has no output)",
    ),
    "erases what is read": (
        changed(REWRITE, "program.module.graph.erase_node(match)"),
        "failed in rewrite of node 'relu' (RuntimeError: Tried to erase Node relu",
    ),
    "does not end": (
        changed(NAME, f"{NAME}; repeat = True").replace(REWRITE, "pass"),
        "does not end: it rewrote",
    ),
    "cannot run": (changed(REWRITE, "match.args = ()"), "left a graph that does not run ("),
    "reads what comes later": (
        changed(REWRITE, "match.args = (list(program.module.graph.nodes)[-2],)"),
        "left a graph that does not run (",
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_pass_that_fails(
    write: Write, program: Program, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text, want = RUNS[case]
    spec = write(text)
    line = line_of(BadInputError, lambda: run_pipeline(Pipeline(()).with_pass(spec), program))
    assert line.startswith(f"pass 'my-pass' ({spec}): ")
    assert want in line
    assert line.endswith("; mend the pass, or leave it out")
    assert capfd.readouterr().err == ""


WRONG = {
    "another function": "match.target = aten.neg.default",
    "another number": "match.target, match.args = aten.clamp_min.default, (match.args[0], 0.5)",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_pass_that_changes_the_result(write: Write, program: Program, case: str) -> None:
    pipeline = Pipeline(()).with_pass(write(changed(REWRITE, WRONG[case])))
    line = line_of(VerificationError, lambda: run_pipeline(pipeline, program, (Verifier(program),)))
    assert line.startswith("pass 'my-pass' (")
    assert "rewrite 1 of 2, at node 'relu', changes the result" in line


def test_a_pass_that_changes_the_shape(write: Write, program: Program) -> None:
    text = changed(REWRITE, "match.target, match.args = aten.sum.dim_IntList, (match.args[0], [0])")
    pipeline = Pipeline(()).with_pass(write(text))
    line = line_of(BadInputError, lambda: run_pipeline(pipeline, program, (Verifier(program),)))
    assert "changes the outputs from float32[8, 9] to " in line
