"""`lwc bisect --json`: one object, whether it finds something or not."""

import json
from pathlib import Path

from lwc.pipeline import DEFAULT
from tests.cli.conftest import CLIP, Lwc

SMALL = ("mobilenet_v1", "--width", "0.25", "--image-size", "32", "--weights", "random")


def test_bisect_of_a_wrong_pass_as_json(lwc: Lwc, clip: str) -> None:
    done = lwc("bisect", *SMALL, "--json", "--pass", clip)
    assert done.code == 5
    document = json.loads(done.out)
    assert document["agrees"] is False
    assert document["name"] == "clip"
    assert document["position"] == DEFAULT.index("fuse-activation") + 2
    assert 1 == document["rewrite"] <= document["rewrites"]
    assert document["node"].endswith("7")
    assert document["error"] > document["limit"] > 0
    assert done.err.splitlines()[-1] == f"lwc: {document['message']}"
    assert f"first different: {document['first_different']};" in document["message"]


def test_bisect_of_a_result_that_is_no_number_as_json(lwc: Lwc, clip: str, tmp_path: Path) -> None:
    """JSON has no NaN."""
    (tmp_path / "clip.py").write_text(
        CLIP.replace(
            "match.args = (*match.args[:9], self.bound, *match.args[10:])",
            "match.append(lost := program.module.graph.call_function(torch.ops.aten.mul.Tensor,"
            " (match, float('nan'))))\n"
            "        match.replace_all_uses_with(lost, delete_user_cb=lambda user: user is not lost)",
        )
    )
    done = lwc("bisect", *SMALL, "--json", "--pass", clip)
    assert done.code == 5
    document = json.loads(done.out)
    assert (document["error"], document["node"][-1]) == (None, "7")
    assert "makes the result NaN; first different: " in document["message"]
