#!/usr/bin/env bash
# The flagship `mzsr`, its weights for x4 and for JPEG and its meta-trained sister `mzsr-meta`, from nothing to src/mzsr/weights:
# large-scale training over a law of kernels, then at x4 alone, and meta-transfer training. Stop it at any time, run it
# again, and it goes on where it was. With more `iterations` in the files (and an accelerator) it makes better weights.
#
# command: bash runs/train_flagship.sh ../shared/data
# machine: `mzsr` up to mean-more 2 cores of an Intel Xeon (no AMX, float32), then 1 core of one with AMX (bfloat16), as its
#          experts and mzsr-meta; torch 2.13
# hours:   mzsr 1.0, 0.6 (one core), 1.5, 0.6, 0.9, 1.3, 1.7 and 0.9 (head); x4 0.8, 1.3 and 0.5 (head), JPEG 0.8 and 0.6
#          (head); mzsr-meta 0.7
# score:   Set5, known kernel, one step, mzsr: x2 g0.2 d 35.87, g2.0 d 36.95, g_ani d 36.27, g1.3 b 37.21, bicubic 37.45,
#          x4 g2.0 d 31.14 dB (mzsr-x4); BSD100/5, g2.0 d, JPEG 80 / 60: 28.59 / 27.94 (mzsr-jpeg); random kernels, x2, no /
#          one / ten steps: 33.24 / 33.24 / 33.24 (mzsr-meta); docs/measured.md for all
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
train() { # run, options; its configuration has the same name
    python -m mzsr train "$1" --config "runs/$2.yaml" --out "$out/$2" --resume "${photographs[@]}" "${@:3}"
}
train_as() { # run, whose configuration, options
    python -m mzsr train pretrain --config "runs/$2.yaml" --out "$out/$1" --resume "${photographs[@]}" "${@:3}"
}
go_on() { # run, from which, iterations, learning rate, warm-up, seed
    train_as "$1" flagship-on --from "$out/$2/weights.safetensors" \
        --set "iterations=$3" --set "learning_rate=$4" --set "warmup=$5" --set "seed=$6"
}
average() { # first run, second, share of the second, where to
    python runs/average.py "$out/$1/weights.safetensors" "$out/$2/weights.safetensors" --share "$3" --out "$out/$4"
}
publish() { # run, name, summary
    python runs/publish.py "$2" --weights "$out/$1/weights.safetensors" --summary "$3"
}

# `mzsr`: four folding blocks a stage, then a head for the log-variance on a body that stays as it is
train pretrain flagship
go_on flagship-on flagship 2000 0.0004 100 53
go_on flagship-long flagship-on 7200 0.0006 200 54
go_on flagship-last flagship-long 3000 0.0005 100 55
average flagship-long flagship-last 0.6 mean-long
go_on flagship-more mean-long 3800 0.0005 100 56
average mean-long flagship-more 0.5 mean-more
train pretrain flagship-view --from "$out/mean-more/weights.safetensors"
average mean-more flagship-view 0.75 mean-view
train_as flagship-wide flagship-view --from "$out/mean-view/weights.safetensors" --set iterations=5000 --set seed=62
average mean-view flagship-wide 0.75 mean-wide
train pretrain head --from "$out/mean-wide/weights.safetensors"
publish head mzsr "flagship: three data-step/network stages of four folding blocks, large-scale training on random kernels"
# Its experts
for expert in x4 jpeg; do
    train pretrain "flagship-$expert" --from "$out/mean-more/weights.safetensors"
done
train_as x4-on flagship-x4 --from "$out/flagship-x4/weights.safetensors" --set iterations=4800 \
    --set learning_rate=0.0006 --set seed=64 --set law.families.gaussian=0.7 --set law.families.perturbed=0.2
train pretrain head-x4 --from "$out/x4-on/weights.safetensors"
train pretrain head-jpeg --from "$out/flagship-jpeg/weights.safetensors"
publish head-x4 mzsr-x4 "flagship at x4, which \`mzsr\` uses there: trained on at that scale alone"
publish head-jpeg mzsr-jpeg \
    "flagship for pictures that went through JPEG, which \`mzsr\` uses there: trained on compressed and noisy ones"
# Meta-trained
train meta flagship-meta --from "$out/head/weights.safetensors"
publish flagship-meta mzsr-meta \
    "flagship, meta-trained: 0.1 dB better where the kernel is wrong, 0.1 dB worse where it is known; steps gain little"
# What their maps say, set right on photographs of training that are degraded anew
for model in mzsr mzsr-x4 mzsr-jpeg; do
    python runs/calibration.py -n "$model" --scale "$([[ $model == mzsr-x4 ]] && echo 4 || echo 2)" --every 4 --fit \
        --first 10000 --data "$data/train/cid22" # with other kernels than anything is measured with
done
