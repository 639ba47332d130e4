"""The MXFP4 format without torch: its block size and the meaning of its bytes.

OCP Microscaling Formats (MX) Specification 1.0: a block is 32 values with 4 bits each (E2M1: a
sign, two bits of exponent, one of mantissa; section 5.3.3) and a scale of 8 bits (E8M0: a power of
two; section 5.4.1).
"""

from __future__ import annotations

BLOCK = 32
"""Values that share a scale."""
BLOCK_BYTES = BLOCK // 2
NAN_SCALE = 255
"""The scale that stands for NaN."""
SCALE_BIAS = 127

_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1_VALUES = (*_MAGNITUDES, *(-each for each in _MAGNITUDES))
"""What the 16 codes stand for."""
