#!/usr/bin/env bash
# The flagship `mzsr`, from nothing to src/mzsr/weights: large-scale training in three parts (random Gaussians, x2 above
# all; then dead features revived; then kernels outside the Gaussian family and more of x4), and meta-transfer training.
# Stop it at any time, run it again, and it goes on where it was. The first two parts of the shipped weights were trained
# before the network had its last data step (LOG.md); run today, they have it.
#
# command: bash runs/train_flagship.sh ../shared/data
# machine: 2 cores of an Intel Xeon (no AMX, float32), torch 2.13, most of it on one core
# hours:   not measured yet
# score:   not measured yet
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
train() { python -m mzsr train "$1" --config "runs/$2.yaml" --out "$out/$2" --resume "${photographs[@]}" "${@:3}"; }

train pretrain flagship
train pretrain flagship-2 --from "$out/flagship/weights.safetensors"
train pretrain flagship-3 --from "$out/flagship-2/weights.safetensors"
train meta flagship-meta --from "$out/flagship-3/weights.safetensors"
python runs/quality.py --data "$data/bench" --model "$out/flagship-meta/weights.safetensors"
python runs/publish.py "$out/flagship-meta/weights.safetensors" --name mzsr \
    --summary "flagship: two data-step/network stages, large-scale training on random kernels, meta-trained"
