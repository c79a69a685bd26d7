"""How matrices are multiplied."""

import pytest
import torch
from torch.nn import functional as F

from leaven.training.precision import fast_products


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fast_products_are_as_exact_as_others_and_leave_settings_as_they_were(precision):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(300, 700, generator=generator), torch.randn(700, 200, generator=generator)
    q, k, v = torch.randn(3, 6, 3, 40, 16, generator=generator).double()
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision, torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    with fast_products("cpu", precision):
        assert (a @ b - a.double() @ b.double()).abs().max() < 1e-4  # rounded to bf16 it would be some 0.3
        attended = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert torch.allclose(attended.double(), F.scaled_dot_product_attention(q, k, v), atol=1e-5)
    after = matmul.fp32_precision, torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    assert after == before
