"""Defects to plant into passes and operators, each with the test that has to catch it."""

from dataclasses import dataclass

_PASSES = "tests/passes"


@dataclass(frozen=True)
class Defect:
    """`old`, which occurs once in `file` of the installed package, becomes `new`; `test` has to fail."""

    file: str
    old: str
    new: str
    test: str


DEFECTS: dict[str, Defect] = {
    # lwc's operators.
    "conv2d pads the bottom at the top": Defect(
        "lwc/ops/conv2d.py",
        "functional.pad(image, (left, right, top, bottom))",
        "functional.pad(image, (left, right, bottom, top))",
        "tests/ops/test_ops.py::test_convolution[asymmetric padding-layouts0]",
    ),
    "conv2d claims a shape with the top's padding twice": Defect(
        "lwc/ops/conv2d.py",
        "(height + top + bottom - ",
        "(height + top + top - ",
        "tests/ops/test_ops.py::test_convolution_is_registered_soundly[asymmetric padding-layouts0]",
    ),
    "conv2d writes (N, W, H, C)": Defect(
        "lwc/ops/conv2d.py",
        "_TO_NHWC = (0, 2, 3, 1)",
        "_TO_NHWC = (0, 3, 2, 1)",
        "tests/ops/test_ops.py::test_convolution[plain-layouts1]",
    ),
    "linear loses its bias": Defect(
        "lwc/ops/linear.py",
        "functional.linear(x, weight, bias)",
        "functional.linear(x, weight)",
        "tests/ops/test_ops.py::test_linear[shape0-identity-True]",
    ),
    "the clamp comes before the activation": Defect(
        "lwc/ops/activation.py",
        "return torch.clamp(y, minimum, maximum)",
        "return ACTIVATIONS[activation](torch.clamp(x, minimum, maximum))",
        "tests/ops/test_ops.py::test_convolution[plain-layouts0]",
    ),
    "GELU is the tanh approximation": Defect(
        "lwc/ops/activation.py",
        '"gelu": functional.gelu,',
        '"gelu": lambda x: functional.gelu(x, approximate="tanh"),',
        f"{_PASSES}/test_fuse_activation.py::test_fuses_into_a_linear_layer[gelu]",
    ),
    # raise-operators.
    '"same" padding ignores dilation': Defect(
        "lwc/passes/raise_operators.py",
        "[d * (k - 1) for d, k",
        "[(k - 1) for d, k",
        f"{_PASSES}/test_raise_operators.py::test_raises_a_convolution[same with dilation]",
    ),
    '"same" pads the odd pixel at the start': Defect(
        "lwc/passes/raise_operators.py",
        "return [reach[0] // 2, reach[0] - reach[0] // 2, ",
        "return [reach[0] - reach[0] // 2, reach[0] // 2, ",
        f"{_PASSES}/test_raise_operators.py::test_raises_a_convolution[same with an even kernel]",
    ),
    "a transposed convolution is raised": Defect(
        "lwc/passes/raise_operators.py",
        'if values.get("transposed"):',
        "if False:",
        f"{_PASSES}/test_raise_operators.py::test_refuses[transposed]",
    ),
    # fold-padding.
    "left and right are swapped": Defect(
        "lwc/passes/fold_padding.py",
        "own[2] + left, own[3] + right",
        "own[2] + right, own[3] + left",
        f"{_PASSES}/test_fold_padding.py::test_folds[1-columns only]",
    ),
    "negative padding is folded": Defect(
        "lwc/passes/fold_padding.py",
        "if min(amounts, default=0) < 0:",
        "if False:",
        f"{_PASSES}/test_fold_padding.py::test_refuses[crop]",
    ),
    "padding of channels is folded": Defect(
        "lwc/passes/fold_padding.py",
        "if len(amounts) > 4 and",
        "if len(amounts) > 6 and",
        f"{_PASSES}/test_fold_padding.py::test_refuses[channels]",
    ),
    # fold-batch-norm and decompose-batch-norm.
    "epsilon is always the default": Defect(
        "lwc/passes/fold_batch_norm.py",
        'variance.double() + values["eps"]',
        "variance.double() + 1e-5",
        f"{_PASSES}/test_fold_batch_norm.py::test_folds[large epsilon]",
    ),
    "the variance is taken for its square root": Defect(
        "lwc/passes/fold_batch_norm.py",
        "gamma / torch.sqrt(",
        "gamma / (",
        f"{_PASSES}/test_fold_batch_norm.py::test_folds[dense]",
    ),
    "beta is missing": Defect(
        "lwc/passes/fold_batch_norm.py",
        "return scale, beta - mean.double() * scale",
        "return scale, -mean.double() * scale",
        f"{_PASSES}/test_fold_batch_norm.py::test_folds[dense]",
    ),
    "the convolution's own bias is lost": Defect(
        "lwc/passes/fold_batch_norm.py",
        "bias = shift if old is None else old.double() * scale + shift",
        "bias = shift",
        f"{_PASSES}/test_fold_batch_norm.py::test_folds[dense]",
    ),
    "the scale goes to the input channels": Defect(
        "lwc/passes/fold_batch_norm.py",
        "scale.reshape(-1, *[1] * (weight.dim() - 1))",
        "scale.reshape(1, -1, *[1] * (weight.dim() - 2))",
        f"{_PASSES}/test_fold_batch_norm.py::test_folds[as many outputs as inputs]",
    ),
    "the groups of a transposed convolution share one scale": Defect(
        "lwc/passes/transposed_convolution.py",
        "scale.reshape(groups, -1).repeat_interleave(len(weight) // groups, 0)",
        "scale.reshape(groups, -1)[:1].repeat(len(weight), 1)",
        f"{_PASSES}/test_fold_batch_norm.py"
        "::test_folds_into_a_transposed_convolution[as many outputs as inputs, grouped]",
    ),
    "another user of the convolution sees the batch norm": Defect(
        "lwc/passes/fold_batch_norm.py",
        "if has_other_users(producer, norm):",
        "if False:",
        f"{_PASSES}/test_fold_batch_norm_guards.py::test_refuses[second user]",
    ),
    "a batch norm whose statistics are read is folded": Defect(
        "lwc/passes/fold_batch_norm.py",
        "if reads_statistics(norm):",
        "if False:",
        f"{_PASSES}/test_fold_batch_norm_guards.py::test_refuses[statistics]",
    ),
    "a batch norm scales the last axis": Defect(
        "lwc/passes/decompose_batch_norm.py",
        "form = (-1, *[1] * (len(shape_of(x)) - 2))",
        "form = (-1,)",
        f"{_PASSES}/test_decompose_batch_norm.py::test_decomposes[as many columns as channels]",
    ),
    # fuse-activation.
    "ReLU6 ends at 5": Defect(
        "lwc/passes/fuse_activation.py",
        "return 0.0, 6.0",
        "return 0.0, 5.0",
        f"{_PASSES}/test_fuse_activation.py::test_fuses_into_a_convolution[relu6]",
    ),
    "reversed bounds are fused": Defect(
        "lwc/passes/fuse_activation.py",
        "and minimum > maximum:",
        "and False:",
        f"{_PASSES}/test_fuse_activation.py::test_refuses[reversed bounds]",
    ),
    "the tanh form of GELU is fused": Defect(
        "lwc/passes/fuse_activation.py",
        'named_arguments(node)["approximate"] != "none":',
        "False:",
        f"{_PASSES}/test_fuse_activation.py::test_refuses[tanh form of GELU]",
    ),
    # remove-identities, fold-constants and merge-transposes.
    "a cast is an identity": Defect(
        "lwc/passes/remove_identities.py",
        "return same_type and shape_of",
        "return shape_of",
        f"{_PASSES}/test_remove_identities.py::test_keeps_what_changes_something[cast]",
    ),
    "a constant as large as the limit is refused": Defect(
        "lwc/passes/fold_constants.py",
        "value.numel() <= limit",
        "value.numel() < limit",
        f"{_PASSES}/test_fold_constants.py::test_a_constant_larger_than_the_limit_is_refused[12-1]",
    ),
    "the merged permutation is the inverse": Defect(
        "lwc/passes/merge_transposes.py",
        "tuple(axes.order))",
        "tuple(map(axes.order.index, sorted(axes.order))))",
        f"{_PASSES}/test_merge_transposes.py::test_merges[image to patches]",
    ),
    "a chain goes on past a second user": Defect(
        "lwc/passes/merge_transposes.py",
        "and len(chain[0].args[0].users) == 1:",
        "and True:",
        f"{_PASSES}/test_merge_transposes.py::test_leaves[no more than a second user allows]",
    ),
    # fold-batch-norm-forward, merge-heads, merge-common-subexpressions, recognize-activations and prune-channels.
    "a convolution that pads takes the batch norm": Defect(
        "lwc/passes/fold_batch_norm_forward.py",
        "any(view.padding):",
        "False:",
        f"{_PASSES}/test_fold_batch_norm_forward.py::test_refuses[padding on one side]",
    ),
    "one layer for two loses the second one's activation": Defect(
        "lwc/passes/merge_heads.py",
        "LinearView.of(node) if node.target is LINEAR else view",
        "view",
        f"{_PASSES}/test_merge_heads.py::test_the_last_layers_activation_stays",
    ),
    "the multiple of a sum is lost": Defect(
        "lwc/passes/affine_operators.py",
        'if name == "alpha"}',
        "if False}",
        f"{_PASSES}/test_merge_heads.py::test_merges_layers_that_are_added[shape1-multiple added]",
    ),
    "an integer and a float are the same operand": Defect(
        "lwc/passes/merge_common_subexpressions.py",
        "return type(value), repr(value)",
        "return value",
        f"{_PASSES}/test_merge_common_subexpressions.py::test_keeps_what_differs[an integer and a float]",
    ),
    "equal constants of other strides are the same operand": Defect(
        "lwc/passes/merge_common_subexpressions.py",
        "(tensor.dtype, tensor.shape, tensor.stride())",
        "(tensor.dtype, tensor.shape)",
        f"{_PASSES}/test_merge_common_subexpressions.py"
        "::test_equal_constants_of_other_strides_are_not_the_same_operand",
    ),
    "any ramp times any tensor is hardswish": Defect(
        "lwc/passes/recognize_activations.py",
        "if _ramp(module, one) is other:",
        "if _ramp(module, one) is not None:",
        f"{_PASSES}/test_recognize_activations.py::test_leaves_other_expressions[a ramp of another tensor]",
    ),
    "a constant goes from before zero padding": Defect(
        "lwc/passes/prune_channels.py",
        "(values == 0) if reader.padded else values.isfinite()",
        "values.isfinite()",
        f"{_PASSES}/test_prune_channels_guards.py::test_refuses[constant before zero padding]",
    ),
    # fuse-residual-add.
    "a residual is subtracted": Defect(
        "lwc/ops/activation.py",
        "else x + residual)",
        "else x - residual)",
        f"{_PASSES}/test_fuse_residual_add.py::test_joins_a_linear_layer",
    ),
    "a residual comes after the activation": Defect(
        "lwc/ops/activation.py",
        "ACTIVATIONS[activation](x if residual is None else x + residual)",
        "ACTIVATIONS[activation](x) + (0 if residual is None else residual)",
        "tests/ops/test_ops.py::test_linear_adds_its_residual_before_the_activation",
    ),
    "a layer does not wait for what it adds": Defect(
        "lwc/passes/fuse_residual_add.py",
        "match.node.prepend(moved)",
        "match.layer.prepend(moved) if moved is not match.layer else None",
        f"{_PASSES}/test_fuse_residual_add.py::test_the_layer_waits_for_what_it_adds",
    ),
    "a residual stays in NCHW": Defect(
        "lwc/passes/convert_layout.py",
        "None if view.residual is None else permute(graph, view.residual, TO_NHWC)",
        "view.residual",
        f"{_PASSES}/test_fuse_residual_add.py::test_images_are_added_in_nhwc",
    ),
    "a multiple is added once": Defect(
        "lwc/passes/fuse_residual_add.py",
        '["alpha"] != 1',
        '["alpha"] == 9',
        f"{_PASSES}/test_fuse_residual_add.py::test_refuses[a multiple]",
    ),
    # merge-parallel-linear.
    "keys and values are slices from the start": Defect(
        "lwc/passes/merge_parallel_linear.py",
        "(merged, axis, start, end)",
        "(merged, axis, 0, end - start)",
        f"{_PASSES}/test_merge_parallel_linear.py::test_merges[of one width]",
    ),
    "a layer that is read elsewhere, too, becomes a slice": Defect(
        "lwc/passes/attention_readers.py",
        "all(_is_attention(",
        "any(_is_attention(",
        f"{_PASSES}/test_merge_parallel_linear.py::test_refuses[a result]",
    ),
    # select-depthwise-kernel and its operator.
    "a joined convolution takes the result from another reader": Defect(
        "lwc/passes/select_depthwise_kernel.py",
        "if len(node.users) > 1:",
        "if False:",
        f"{_PASSES}/test_select_depthwise_kernel.py::test_refuses[a second reader]",
    ),
    "a strided pointwise convolution is joined": Defect(
        "lwc/passes/select_depthwise_kernel.py",
        " or view.stride != (1, 1)",
        "",
        f"{_PASSES}/test_select_depthwise_kernel.py::test_refuses[a strided one after it]",
    ),
    "the clamp between two joined convolutions is lost": Defect(
        "lwc/ops/separable_conv2d.py",
        "(window_activation, window_minimum, window_maximum)",
        "(window_activation, None, None)",
        "tests/ops/test_separable_conv2d.py::test_is_the_two_layers[plain]",
    ),
    # fuse-attention and its operator.
    "heads lie one channel further": Defect(
        "lwc/ops/attention.py",
        "x.narrow(-1, where.offset, extent)",
        "x.roll(-1, -1).narrow(-1, where.offset, extent)",
        "tests/ops/test_attention.py::test_attention[three projections-False]",
    ),
    "the scale of queries and keys is lost": Defect(
        "lwc/passes/attention_pattern.py",
        "scale=found.scale * of_query * of_key",
        "scale=found.scale",
        f"{_PASSES}/test_fuse_attention.py::test_fuses[queries times a scale]",
    ),
    "a bias that differs between images is taken": Defect(
        "lwc/passes/fuse_attention.py",
        "shape_of(match.bias)[:-3] not in ((), (1,))",
        "shape_of(match.bias)[:-3] == (99,)",
        f"{_PASSES}/test_fuse_attention_guards.py::test_refuses[a bias of each image]",
    ),
    "the scale goes to the keys' rows": Defect(
        "lwc/passes/fold_attention_scale.py",
        "rows = list(_channels(view.query_heads, view.heads))",
        "rows = list(_channels(view.key_heads, view.heads))",
        f"{_PASSES}/test_fold_attention_scale.py::test_folds_into_the_rows_of_the_queries_alone",
    ),
}
