"""OCRBench: the right text somewhere in the answer."""

from fastvlm_mlx.evaluate.scorers.contains import contains, contains_formula


def test_somewhere_in_any_case() -> None:
    assert contains("It says CENTRE.", ["centre"]) == 1
    assert contains("It says centre.", ["center", "Centre"]) == 1
    assert contains("center", ["centre"]) == 0


def test_wide_letters_are_letters() -> None:
    assert contains("ＡＢＣ　１", ["abc 1"]) == 1


def test_a_line_break_is_a_blank() -> None:
    assert contains("new\nyork", ["new york"]) == 1


def test_formulas_have_case_and_no_blanks() -> None:
    assert contains_formula("x ^ 2 + 1", ["x^2 +1"]) == 1
    assert contains_formula("X^2", ["x^2"]) == 0
