#!/usr/bin/env bash
# The flagship `mzsr`, from nothing to src/mzsr/weights: large-scale training over a law of kernels, and meta-transfer
# training. Stop it at any time, run it again, and it goes on where it was. With a longer `iterations` in the two files
# (and an accelerator) the same script makes better weights.
#
# command: bash runs/train_flagship.sh ../shared/data
# machine: 2 cores of an Intel Xeon (no AMX, float32), torch 2.13; large-scale training on one of them
# hours:   not measured yet
# score:   not measured yet
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
train() { python -m mzsr train "$1" --config "runs/$2.yaml" --out "$out/$2" --resume "${photographs[@]}" "${@:3}"; }

train pretrain flagship
train meta flagship-meta --from "$out/flagship/weights.safetensors"
python runs/quality.py --data "$data/bench" --model "$out/flagship-meta/weights.safetensors"
python runs/publish.py "$out/flagship-meta/weights.safetensors" --name mzsr \
    --summary "flagship: three data-step/network stages, large-scale training on random kernels, meta-trained"
