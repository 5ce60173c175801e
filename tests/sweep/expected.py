"""The failures that are known, by label and check, each with its reason. A listed check that fails nowhere is itself a failure."""

from __future__ import annotations

EXPECTED: dict[str, dict[str, str]] = {
    **{
        f"__{name}__": {"error": "the refusal comes from the type of a method of C, which Python functions do not have"}
        for name in "rand radd rmul ror rxor rdiv".split()
    },
    **{
        name: {"out": "refused too, as a RuntimeError: torch's NotImplementedError names its kernel"} for name in ("nansum", "nanmean")
    },
    **{
        name: {"gradient": "torch ignores what flows into the mean and the deviation"}
        for name in "native_batch_norm native_layer_norm _native_batch_norm_legit _batch_norm_with_update".split()
    },
    "max_pool2d_with_indices_backward": {"gradient": "torch has a gradient of zeros by the input, of which only the shape is read"},
    "masked.logaddexp": {"gradgrad": "where both are masked out torch's second derivative is NaN, here 0"},
    "linalg.norm[subgradients_at_zero]": {"gradgrad": "at zero torch's second derivative of a norm is NaN, here it is that of the subgradient"},
    "pca_lowrank": {"values": "singular vectors have free signs, and torch's random ones are drawn with another bias"},
    "svd_lowrank": {"values": "singular vectors have free signs, and torch's random ones are drawn with another bias"},
    "as_strided_scatter": {"gradient": "torch's gradient of the input lets through what was overwritten"},
    "fft.ihfftn": {"out": "torch does not resize an empty out= where only `s` is given"},
}
