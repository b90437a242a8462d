"""Named starting points of the two stages of training. Imports no torch."""

from typing import Any

from mzsr.config import KernelLaw, LossConfig, MetaConfig, NetworkConfig, PretrainConfig

_UNIFORM = KernelLaw(
    families={"uniform": 1.0}, scales={2: 1.0}, variance=(1.0, 2.5), bicubic_share=0, centred_share=0, noise_share=0
)
"""Kernels as MZSR draws them, direct x2."""

_PHOTOGRAPHS = KernelLaw(
    families={"gaussian": 0.8, "perturbed": 0.1, "motion": 0.04, "disk": 0.03, "box": 0.03},
    scales={1: 0.02, 2: 0.84, 3: 0.04, 4: 0.1}, bicubic_share=0.3, centred_share=0.15, noise_share=0.15,
)  # fmt: skip
"""What happens to photographs: Gaussians above all, both grids, x2 above all."""

_SMOKE = NetworkConfig(channels=8, stages=1, blocks=1)
"""As small as it can be: for a look whether training works at all."""

_BICUBIC_X2 = KernelLaw(name="bicubic", scales={2: 1.0})

_AS_PUBLISHED: dict[str, Any] = {"warmup": 0, "clip": 1e6, "ema": 0.0}
"""What MZSR has not: a warm-up, a bound on gradients, a moving average."""

_EDSR_S = PretrainConfig(
    network=NetworkConfig(name="edsr-s", scale=2), law=_BICUBIC_X2, iterations=100_000, batch=64, patch=192,
    learning_rate=1e-4, schedule="halving", halve_every=40_000, clip=1e6,
)  # fmt: skip
"""Step 2 of UDL; its step 1 has 30,000 iterations. Nothing is clipped: EU and ESU have gradients of another size."""

PRETRAIN: dict[str, PretrainConfig] = {
    "flagship": PretrainConfig(
        law=_PHOTOGRAPHS, loss=LossConfig(name="psnr"), batch=8, optimiser="muon", learning_rate=5e-4
    ),
    "paper": PretrainConfig(
        network=NetworkConfig(name="paper"),
        law=KernelLaw(name="bicubic"),
        iterations=800_000,
        batch=32,
        learning_rate=4e-4,
        schedule="halving",
        **_AS_PUBLISHED,
    ),
    "smoke": PretrainConfig(
        network=_SMOKE,
        iterations=20,
        batch=2,
        patch=32,
        warmup=2,
        save_every=5,
    ),
    "edsr-s": _EDSR_S,
    "edsr": _EDSR_S.model_copy(update={"network": NetworkConfig(name="edsr", scale=2)}),
    "dpdnn": _EDSR_S.model_copy(update={"network": NetworkConfig(name="dpdnn")}),
}
"""Named starting points of `mzsr train pretrain`.

`paper` follows the repository of MZSR (batch 32, patch 96); `edsr-s`, `edsr` and `dpdnn` that of UDL (batch 64, patch
192, Adam 1e-4; its halving every 200 epochs, of a length it does not say, is taken as 40,000 iterations), but for a
warm-up and the moving average, which the shipped EDSR-S and the table of losses have.
"""

META: dict[str, MetaConfig] = {
    "flagship": MetaConfig(
        law=KernelLaw(
            families={"gaussian": 0.45, "perturbed": 0.3, "motion": 0.1, "disk": 0.08, "box": 0.07},
            scales={2: 0.75, 3: 0.05, 4: 0.2}, noise_share=0.15, error_share=0.3,
        ),
        tasks=3, batch=2, patch=128, optimiser="muon", learning_rate=2e-4, alpha=0.1, zero_weight=0.25, ema=0.99,
    ),
    "paper": MetaConfig(
        network=NetworkConfig(name="paper"),
        law=_UNIFORM,
        iterations=100_000,
        tasks=5,
        batch=8,
        patch=64,
        schedule="constant",
        **_AS_PUBLISHED,
        steps=5,
        learn_alpha=False,
        weighting="annealed",
        episodes="published",
        test_alphas=(2e-2, 1e-2, 1e-2, 1e-2, 5e-3),
    ),
    "smoke": MetaConfig(
        network=_SMOKE, law=KernelLaw(scales={2: 1.0}), iterations=5, tasks=2, batch=2,
        patch=32, warmup=2, save_every=5,
    ),
}  # fmt: skip
"""Named starting points of `mzsr train meta`; `paper` is the direct x2 model as published.

Otherwise than published are kernels above x2, which have room for five standard deviations (15x15 there), and scales
that are no whole number, 2.0 to 4.0 by 0.2 in the multi-scale model, which are left out.
"""
