"""The precision of a step: bfloat16 only where the processor multiplies it."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("transformers")

from benchmarks.nano.train.model import attention_of, precision_of  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": False}, "float32"),
        ({}, "float32"),  # No x86-64.
    ],
)
def test_bfloat16_where_it_is_multiplied(
    has: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    with precision_of(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, expected)


def test_attention_is_plain_on_a_cpu() -> None:
    queries = torch.ones(1, 1, 2, 4)
    with attention_of(CPU):
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
        torch.nn.functional.scaled_dot_product_attention(queries, queries, queries)
