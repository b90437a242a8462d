#!/usr/bin/env bash
# The flagship `mzsr`, its weights for x4 and for JPEG and its meta-trained sister `mzsr-meta`, from nothing to src/mzsr/weights:
# large-scale training over a law of kernels, then at x4 alone, and meta-transfer training. Stop it at any time, run it
# again, and it goes on where it was. With more `iterations` in the files (and an accelerator) it makes better weights.
#
# command: bash runs/train_flagship.sh ../shared/data
# machine: 1 core of an Intel Xeon (no AMX, float32), torch 2.13; flagship-large, -deep and their head of an AMD EPYC (bfloat16)
# hours:   1.2, 1.1, 1.6, 1.2 and 1.2 large-scale training, 0.6 and 1.1 at x4 alone, 1.1 on JPEG, 0.5 meta-transfer
#          training; 1.0, 1.5 and 0.8 on two cores and 0.6 on one of mzsr-deep
# score:   Set5, known kernel, one step, mzsr: x2 g0.2 d 35.78, g2.0 d 36.84, g_ani d 36.12, g1.3 b 37.07, bicubic 37.30,
#          x4 g2.0 d 31.01 dB (mzsr-x4); BSD100/5, g2.0 d, JPEG 80 / 60: 28.54 / 27.89 (mzsr-jpeg); random kernels, x2, no /
#          one / ten steps: 32.78 / 32.80 / 32.88 (mzsr-meta); mzsr-deep as its card says; docs/measured.md for all
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
train() { python -m mzsr train "$1" --config "runs/$2.yaml" --out "$out/$2" --resume "${photographs[@]}" "${@:3}"; }
train_head() { # run, whose body, options
    python -m mzsr train pretrain --config runs/head.yaml --out "$out/$1" --resume "${photographs[@]}" \
        --from "$out/$2/weights.safetensors" "${@:3}"
}
publish() { # run, name, summary
    python runs/publish.py "$2" --weights "$out/$1/weights.safetensors" --summary "$3"
}

train pretrain flagship
train pretrain flagship-on --from "$out/flagship/weights.safetensors"
train pretrain flagship-large --from "$out/flagship-on/weights.safetensors"
train pretrain flagship-deep --from "$out/flagship-large/weights.safetensors"
train pretrain flagship-deep-on --from "$out/flagship-deep/weights.safetensors"
train pretrain flagship-x4 --from "$out/flagship-on/weights.safetensors"
train pretrain flagship-x4-on --from "$out/flagship-x4/weights.safetensors"
train pretrain flagship-jpeg --from "$out/flagship-on/weights.safetensors"
# Heads for the log-variance, on bodies that stay as they are
train_head head flagship-deep-on
train pretrain head-x4 --from "$out/flagship-x4-on/weights.safetensors"
train pretrain head-jpeg --from "$out/flagship-jpeg/weights.safetensors"
# `mzsr` is the mean of its last two runs, each with a head of its own, and the head goes on on that mean
train_head head-deep flagship-deep
python runs/average.py "$out/head-deep/weights.safetensors" "$out/head/weights.safetensors" --share 0.7 --out "$out/mean"
train_head head-mean mean --set iterations=1500 --set learning_rate=0.001 --set seed=9
train_head head-long head-mean --set iterations=6000 --set seed=13
# Three of four blocks of every stage fell silent on the way (LOG.md)
python runs/prune.py "$out/head-long/weights.safetensors" --data "$data/train/gb82" --out "$out/pruned"
publish pruned mzsr "flagship: three data-step/network stages, large-scale training on random kernels"
# The next form, all of whose blocks learn: as good in a fraction of the time, and not at its end
train pretrain flagship-signed
go_on() { # run, from which, iterations, learning rate, warm-up, seed
    python -m mzsr train pretrain --config runs/flagship-signed-on.yaml --out "$out/$1" --resume "${photographs[@]}" \
        --from "$out/$2/weights.safetensors" \
        --set "iterations=$3" --set "learning_rate=$4" --set "warmup=$5" --set "seed=$6"
}
go_on flagship-signed-on flagship-signed 2000 0.0004 100 53
go_on flagship-signed-long flagship-signed-on 7200 0.0006 200 54
go_on flagship-signed-last flagship-signed-long 3000 0.0005 100 55
python runs/average.py "$out/flagship-signed-long/weights.safetensors" "$out/flagship-signed-last/weights.safetensors" \
    --share 0.6 --out "$out/mean-signed"
publish mean-signed mzsr-deep \
    "flagship with four folding blocks a stage, to be trained on: a little better than mzsr so far, in twice its time"
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
