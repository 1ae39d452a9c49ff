import pytest

from lwc.models.names import model_name, unique_identifiers


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mobilenet_v1", "mobilenet_v1"),
        ("My-Model", "my_model"),
        ("levit-128S", "levit_128s"),
        ("1.0_224", "model_1_0_224"),
        ("int", "int_model"),
        ("namespace", "namespace_model"),
        ("m", "m_model"),
        ("../../etc/passwd", "etc_passwd"),
        ("a;b\nc", "a_b_c"),
        ("\u0430\u0435", "model"),
        ("", "model"),
        ("___", "model"),
        ("9" * 200, "model_" + "9" * 58),
        ("x" * 1_000_000, "x" * 64),
    ],
)
def test_any_text_becomes_the_name_of_a_model(text: str, name: str) -> None:
    assert model_name(text) == name


def test_texts_that_look_alike_to_c_get_different_names() -> None:
    assert unique_identifiers(["a.b", "a-b", "A_B", "c"], "input") == ("a_b", "a_b_2", "a_b_3", "c")
    assert len(set(unique_identifiers(["x" * 70] * 3, "input"))) == 3
