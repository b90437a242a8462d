#!/usr/bin/env bash
# What the loss is worth: EDSR-S at x2 or x4 by L1, EU, ESU, UDL with s of ESU, UDL with s of EU, and by weights of an
# error map and of a gradient map. Every run has two legs of the same lengths on the same patches, so that the loss is all
# that differs: L1, EU and ESU go on by themselves, the others from ESU (UDL also from EU). Stop it at any time, run it
# again, and it goes on where it was. SEEDS="0 1 2", RUNS="l1 udl", SCALE, STEP1, STEP2 (iterations of the legs), PATCH and
# RATE change it. LONG=1 makes the two that are shipped at x2, by L1 and by UDL: five times as many iterations, on patches
# of four times as many pixels, more gently; with SCALE=4 RUNS=l1 the one that is shipped at x4.
#
# command: bash runs/train_udl.sh ../shared/data [OUT]
# machine: 1 core of an Intel Xeon (no AMX, float32; LONG: with AMX, bfloat16), torch 2.13
# hours:   2.2 for three seeds at x2; 0.8 at x4, with SCALE=4 PATCH=64; 2.3 with LONG=1; 1.0 with LONG=1 SCALE=4 RUNS=l1
# score:   seed 0 at x2, protocol mzsr, plain bicubic, Set5 / BSD100: L1 36.80 / 31.35, UDL 36.84 / 31.38, with LONG=1 (both
#          shipped) 37.41 / 31.81 and 37.40 / 31.81, L1 at x4 31.61 / 27.30; docs/measured.md, "What the loss is worth", for all
set -euo pipefail
data=${1:?give the folder that holds train/}
out=${2:-out/udl}
scale=${SCALE:-2}
if [ -n "${LONG:-}" ]; then
    SEEDS=0 RUNS=${RUNS:-l1 udl} STEP1=1200 STEP2=3800 PATCH=$((48 * scale)) RATE=0.001
fi
photographs=(--data "$data/train/cid22" --data "$data/train/clic2025" --data "$data/train/gb82")
train() { # run, loss, iterations, seed, options
    python -m mzsr train pretrain --preset edsr-s --config runs/udl.yaml --out "$folder/$1" --loss "$2" --resume \
        --set "iterations=$3" --set "seed=$4" --set "network.scale=$scale" --set "law.scales={$scale: 1}" \
        --set "patch=${PATCH:-48}" --set "learning_rate=${RATE:-0.002}" "${photographs[@]}" "${@:5}"
}
step1() { train "$1-step1" "$1" "${STEP1:-300}" "$seed"; }
step2() { # run, loss, whose step 1
    train "$1" "$2" "${STEP2:-700}" $((seed + 100)) --from "$folder/$3-step1/weights.safetensors"
    echo "x$scale, seed $seed, $1: $folder/$1/weights.safetensors"
}
for seed in ${SEEDS:-0 1 2}; do
    folder=$out/${LONG:+long-}x$scale-$seed
    for run in ${RUNS:-l1 eu esu udl udl-of-eu error-map gradient-map}; do
        case $run in
        l1 | eu | esu) step1 "$run"; step2 "$run" "$run" "$run" ;;
        udl-of-eu) step1 eu; step2 "$run" udl eu ;;
        *) step1 esu; step2 "$run" "$run" esu ;;
        esac
    done
done
if [ -n "${LONG:-}" ]; then
    for loss in $RUNS; do
        python runs/publish.py "edsr-s-x$scale-$loss" --weights "$folder/$loss/weights.safetensors" --half \
            --summary "EDSR-S (UDL, NeurIPS 2021) at x$scale by $loss for comparison: plain bicubic, 5000 iterations"
    done
fi
