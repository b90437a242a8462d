#!/usr/bin/env bash
# The flagship `mzsr`, its weights for x4 and for JPEG and its meta-trained sister `mzsr-meta`, from nothing to src/mzsr/weights:
# large-scale training over a law of kernels, then at x4 alone, and meta-transfer training. Stop it at any time, run it
# again, and it goes on where it was. With more `iterations` in the files (and an accelerator) it makes better weights.
#
# command: bash runs/train_flagship.sh ../shared/data
# machine: mzsr and its head: 2 cores of an AMD EPYC (bfloat16), a process on each; the others: 1 core of an Intel Xeon (no
#          AMX, float32); torch 2.13
# hours:   HOURS large-scale training and 0.0 its head; the others 1.2 and 1.1, 0.6 and 1.1 at x4 alone, 1.1 on JPEG, 0.5
#          meta-transfer training
# score:   Set5, known kernel, one step, mzsr: SCORE,
#          x4 g2.0 d 31.01 dB; docs/measured.md for all
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
train() { python -m mzsr train "$1" --config "runs/$2.yaml" --out "$out/$2" --resume "${photographs[@]}" "${@:3}"; }
train_by_two() { torchrun --nproc-per-node 2 -m mzsr train pretrain --config "runs/$1.yaml" --out "$out/$1" --resume "${photographs[@]}" "${@:2}"; }
publish() { # run, name, summary
    python runs/publish.py "$2" --weights "$out/$1/weights.safetensors" --summary "$3"
}

train_by_two flagship-signed
train_by_two head --from "$out/flagship-signed/weights.safetensors"
# Of the first form, whose features are not signed; those that follow go on from it
train pretrain flagship
train pretrain flagship-on --from "$out/flagship/weights.safetensors"
train pretrain flagship-x4 --from "$out/flagship-on/weights.safetensors"
train pretrain flagship-x4-on --from "$out/flagship-x4/weights.safetensors"
train pretrain flagship-jpeg --from "$out/flagship-on/weights.safetensors"
train pretrain head-x4 --from "$out/flagship-x4-on/weights.safetensors"
train pretrain head-jpeg --from "$out/flagship-jpeg/weights.safetensors"
publish head mzsr "flagship: three data-step/network stages, large-scale training on random kernels"
publish head-x4 mzsr-x4 "flagship at x4, which \`mzsr\` uses there: trained on at that scale alone"
publish head-jpeg mzsr-jpeg \
    "flagship for pictures that went through JPEG, which \`mzsr\` uses there: trained on compressed and noisy ones"
# What their maps say, set right on photographs of training that are degraded anew
for model in mzsr mzsr-x4 mzsr-jpeg; do
    python runs/calibration.py -n "$model" --scale "$([[ $model == mzsr-x4 ]] && echo 4 || echo 2)" --every 4 --fit --data "$data/train/cid22"
done
train meta flagship-meta --from "$out/flagship/weights.safetensors"
publish flagship-meta mzsr-meta \
    "flagship, meta-trained: a misjudged kernel costs less, steps gain a little; known kernels a little worse"
