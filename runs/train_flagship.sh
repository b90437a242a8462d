#!/usr/bin/env bash
# First weights of the flagship `mzsr`: large-scale training over random Gaussian kernels, x2 above all, clean and noisy.
# Not meta-trained yet. Stop it at any time, run it again, and it goes on to the same bits.
#
# command: OMP_NUM_THREADS=1 bash runs/train_flagship.sh ../shared/data
# machine: 1 core of an Intel Xeon (no AMX, float32), torch 2.13
# hours:   HOURS
# score:   SCORE
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out/flagship}
python -m mzsr train pretrain --config runs/flagship.yaml --out "$out" --resume \
    --data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82"
python runs/quality.py --data "$data/bench" --model "$out/weights.safetensors"
python runs/publish.py "$out/weights.safetensors" --name mzsr \
    --summary "flagship: two data-step/network stages; large-scale training on random kernels, not meta-trained yet"
