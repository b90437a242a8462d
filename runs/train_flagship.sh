#!/usr/bin/env bash
# First weights of the flagship `mzsr`: large-scale training over random Gaussian kernels, x2 above all, clean and noisy,
# in two parts. Not meta-trained yet. Stop it at any time, run it again, and it goes on where it was. The shipped
# weights were trained before the network had its last data step (LOG.md); run today, the training has it.
#
# command: bash runs/train_flagship.sh ../shared/data
# machine: 2 cores of an Intel Xeon (no AMX, float32), torch 2.13; iterations 0-5500 of the first part on one core
# hours:   1.7 (1.3 and 0.4)
# score:   Set5 x2, protocol mzsr, kernel known, 0 steps: g0.2 d 35.07, g2.0 d 36.09, g_ani d 35.03 dB
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
python -m mzsr train pretrain --config runs/flagship.yaml --out "$out/flagship" --resume "${photographs[@]}"
python -m mzsr train pretrain --config runs/flagship-2.yaml --out "$out/flagship-2" --resume "${photographs[@]}" \
    --from "$out/flagship/weights.safetensors"
python runs/quality.py --data "$data/bench" --model "$out/flagship-2/weights.safetensors"
python runs/publish.py "$out/flagship-2/weights.safetensors" --name mzsr \
    --summary "flagship: two data-step/network stages; large-scale training on random kernels, not meta-trained yet"
