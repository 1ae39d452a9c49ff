"""What `lwc compile` says of pruning, and of how often the model is right."""

from collections.abc import Iterator
from typing import Any

from lwc.cli.units import short_count
from lwc.models.evaluate import Accuracy, wilson_interval
from lwc.package.manifest import Manifest, PassEntry
from lwc.prepare import Evaluation

Fact = tuple[str, str]


def pruning_facts(manifest: Manifest) -> Iterator[Fact]:
    """The lines on what was removed; none where the model is what it was."""
    if manifest.pruning is None:
        return
    before, after, groups = manifest.pruning.before, manifest.pruning.after, _groups(manifest)
    total = groups.count + groups.refusals
    yield (
        "pruned",
        f"{groups.count} of {total} groups of channels, at most {manifest.pruning.fraction:g} of each",
    )
    for name in ("channels", "parameters", "macs"):
        old, new = getattr(before, name), getattr(after, name)
        part = f", {1 - new / old:.0%} less" if old else ""
        yield f"  {'MACs' if name == 'macs' else name}", f"{short_count(old)} -> {short_count(new)}{part}"


def pruning_document(manifest: Manifest) -> dict[str, Any] | None:
    """The same as a JSON object; None where the model is what it was."""
    if manifest.pruning is None:
        return None
    groups = _groups(manifest)
    counts = {"pruned_groups": groups.count, "other_groups": groups.refusals}
    return manifest.pruning.model_dump(mode="json") | counts


def _groups(manifest: Manifest) -> PassEntry:
    return next(entry for entry in manifest.passes if entry.name == "zero-channels")


def evaluation_facts(evaluation: Evaluation) -> Iterator[Fact]:
    """The lines on the accuracy: the likeliest class, the five likeliest where there are as many, and agreement."""
    kinds = _kinds(evaluation)
    for title, field in (("top-1", "top1"), ("top-5", "top5")):
        shown = [
            f"{kind} {_share(right, accuracy.images)}"
            for kind, accuracy in kinds.items()
            if accuracy is not None and (right := getattr(accuracy, field)) is not None
        ]
        if shown:
            yield title, f"{'; '.join(shown)}; {evaluation.original.images} images"
    changed = [
        f"{kind} {_share(accuracy.agreement, accuracy.images)}"
        for kind, accuracy in kinds.items()
        if accuracy is not None and accuracy is not evaluation.original
    ]
    if changed:
        yield "agreement", f"{'; '.join(changed)}: the same likeliest class as the original"


def evaluation_document(evaluation: Evaluation) -> dict[str, Any]:
    """The same as a JSON object; intervals are 95 % and Wilson's."""
    kinds = _kinds(evaluation)
    return {
        "images": evaluation.original.images,
        **{kind: None if accuracy is None else _document(accuracy) for kind, accuracy in kinds.items()},
    }


def _kinds(evaluation: Evaluation) -> dict[str, Accuracy | None]:
    return {
        "original": evaluation.original,
        "pruned": evaluation.pruned,
        "quantized": evaluation.quantized,
    }


def _share(right: int, images: int) -> str:
    low, high = wilson_interval(right, images)
    return f"{right / images:.1%} (95 %: {low:.1%} to {high:.1%})"


def _document(accuracy: Accuracy) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field in ("top1", "top5", "agreement"):
        right = getattr(accuracy, field)
        known = right is not None
        document[field] = right / accuracy.images if known else None
        document[f"{field}_interval"] = list(wilson_interval(right, accuracy.images)) if known else None
    return document
