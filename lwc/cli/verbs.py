"""The verbs, and a click group that imports the module of the one that is called."""

import difflib
from importlib import import_module

import click

# verb -> (where its command is, its line in `lwc --help`).
VERBS = {
    "compile": ("lwc.cli.compile:command", "Compile a model into a package."),
    "run": ("lwc.cli.run:command", "Run a package on an image or an array."),
    "verify": ("lwc.cli.verify:command", "Check a package against its stored sample."),
    "bench": ("lwc.cli.bench:command", "Measure models side by side with other engines."),
    "profile": ("lwc.cli.profile:command", "Show how long each kernel of a package takes."),
    "noise": ("lwc.cli.noise:command", "Show how much noise INT8 makes in each layer of a package."),
    "tune": ("lwc.cli.tune:command", "Measure faster kernels for a model, and keep the results."),
    "models": ("lwc.cli.models:command", "List the models that lwc knows by name."),
    "targets": ("lwc.cli.targets:command", "List the machines that lwc compiles for."),
    "passes": ("lwc.cli.passes:command", "List the rewrites, their options and their order."),
    "explain": (
        "lwc.cli.explain:command",
        "Show what each pass rewrites in a model, or refuses.",
    ),
    "bisect": ("lwc.cli.bisect:command", "Find the pass that changes what a model gives."),
}


class LazyGroup(click.Group):
    """The group of `VERBS`; its help needs none of their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the table's order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb; None for an unknown one."""
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown verb's error names the nearest one."""
        verb = args[0]
        if verb in VERBS or verb.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Choose from {', '.join(VERBS)}."
        raise click.UsageError(f"No such verb '{verb}'. {hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table's lines."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])
