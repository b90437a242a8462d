#!/usr/bin/env bash
# The four models of the MZSR paper, from nothing to src/mzsr/weights: θ_T on plain bicubic pairs, then for each model
# plain training over its kernels and second-order meta-training with five inner steps on sons and fathers. Stop it at
# any time, run it again, and it goes on where it was. PRESET=paper trains the published schedule instead, in OUT/published
# (days of an accelerator; what it takes otherwise than the paper stands in src/mzsr/presets.py). The shipped four were
# made when a task of two patches could be of two photographs; it is of one now (LOG.md, "a tenth pair of eyes").
#
# command: bash runs/train_paper.sh ../shared/data
# machine: 1 core of an Intel Xeon with AMX (bfloat16), torch 2.13, the other one busy
# hours:   0.1 for θ_T, then 1 to 1.8 for each model
# score:   known kernel, 1 / 10 steps, Set5, with back-projection at last: x2 g0.2 d 34.44 / 35.04, g2.0 d 35.54 / 36.00, g_ani d
#          34.45 / 34.93 (mzsr-x2-direct), g1.3 b 35.44 / 36.41 (mzsr-x2-bicubic), x4 g2.0 d 30.31 / 30.39
#          (mzsr-x4-direct), x2 g2.0 d 35.58 / 36.07, x4 30.15 / 30.24 (mzsr-multiscale); docs/measured.md for all
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-out}
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
train() { python -m mzsr train "$1" --out "$out/$2" --resume "${photographs[@]}" "${@:3}"; }

if [ "${PRESET:-}" = paper ]; then
    out=$out/published
    photographs+=(--set "licences.cid22=CC BY-SA 4.0" --set licences.clic2025=Unsplash --set "licences.gb82=public domain")
    train pretrain paper-t --preset paper
else
    train pretrain paper-t --config runs/paper-t.yaml
fi

paper=('{uniform: 1}' '[1, 2.5]') # l1 ~ U(1, 2.5 s), l2 ~ U(1, l1)
wide=('{uniform: 0.6, gaussian: 0.4}' '[0.1, 2.5]') # no variance below 1 is where MZSR loses to ZSSR (g0.2)
model() { # name, scales, share of bicubic subsampling, kernels, their variances, published step sizes, what for, patch
    local law=(--set "law.scales=$2" --set "law.bicubic_share=$3")
    local how="meta-trained on sons and fathers with learned step sizes, on a CPU"
    if [ "${PRESET:-}" = paper ]; then
        how="meta-trained by the published schedule"
        train meta "$1" --preset paper "${law[@]}" --set "test_alphas=$6" --from "$out/paper-t/weights.safetensors"
    else
        law+=(--set "law.families=$4" --set "law.variance=$5" --set law.centred_share=0 --set law.noise_share=0)
        train pretrain "$1-law" --config runs/paper-law.yaml "${law[@]}" --from "$out/paper-t/weights.safetensors"
        train meta "$1" --preset paper --config runs/paper-meta.yaml "${law[@]}" --set "patch=$8" \
            --from "$out/$1-law/weights.safetensors"
    fi
    python runs/publish.py "$1" --weights "$out/$1/weights.safetensors" \
        --summary "network of MZSR, $7; $how"
}
model mzsr-x2-direct '{2: 1}' 0 "${wide[@]}" '[0.02, 0.01, 0.01, 0.01, 0.005]' 'direct subsampling at x2' 128
model mzsr-x2-bicubic '{2: 1}' 1 "${paper[@]}" '[0.01, 0.01, 0.01, 0.001]' 'bicubic subsampling at x2' 128
model mzsr-x4-direct '{4: 1}' 0 "${paper[@]}" '[0.01, 0.005, 0.005, 0.005, 0.005, 0.001]' 'direct subsampling at x4' 192
model mzsr-multiscale '{2: 0.4, 3: 0.2, 4: 0.4}' 0 "${paper[@]}" '[0.01, 0.01, 0.01, 0.005]' 'direct subsampling at x2 to x4' 192
