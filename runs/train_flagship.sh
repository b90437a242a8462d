#!/usr/bin/env bash
# First weights of the flagship `mzsr`: large-scale training over random Gaussian kernels, x2 above all, clean and noisy,
# in three parts. Not meta-trained yet. Stop it at any time, run it again, and it goes on where it was. For the shipped
# weights, parts one and two ran before the network had its last data step (LOG.md); run today, all parts have it.
#
# command: bash runs/train_flagship.sh ../shared/data
# machine: 2 cores of an Intel Xeon (no AMX, float32), torch 2.13; iterations 0-5500 of the first part on one core
# hours:   HOURS
# score:   SCORE
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
python -m mzsr train pretrain --config runs/flagship.yaml --out "$out/flagship" --resume "${photographs[@]}"
python -m mzsr train pretrain --config runs/flagship-2.yaml --out "$out/flagship-2" --resume "${photographs[@]}" \
    --from "$out/flagship/weights.safetensors"
python -m mzsr train pretrain --config runs/flagship-3.yaml --out "$out/flagship-3" --resume "${photographs[@]}" \
    --from "$out/flagship-2/weights.safetensors"
python runs/quality.py --data "$data/bench" --model "$out/flagship-3/weights.safetensors"
python runs/publish.py "$out/flagship-3/weights.safetensors" --name mzsr \
    --summary "flagship: two data-step/network stages; large-scale training on random kernels, not meta-trained yet"
