"""Classes that are no pass: BadInputError."""

import pytest

from lwc.errors import BadInputError, UsageError
from lwc.pipeline import Pipeline
from tests.pipeline.plugins import GOOD, NAME, Write, changed, line_of, names

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
    "the pipeline's name": (
        changed('"my-pass"', '"default"'),
        "its name is 'default', which means lwc's own",
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
