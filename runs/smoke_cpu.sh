#!/usr/bin/env bash
# The whole chain in minutes, to see that it holds: pretrain → meta → upscale → score. The weights are worth nothing.
#
# command: bash runs/smoke_cpu.sh ../shared/data
# machine: 1 core of an Intel Xeon with AMX (bfloat16), torch 2.13, the other one busy
# hours:   0.02 (72 seconds)
# score:   Set5 g2.0 d at x2, known kernel: 34.54 dB at 0, 1 and 10 steps (bicubic of the right phase: 29.79)
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}
out=${2:-$(mktemp -d)}
small=(--data "$data/train/gb82" --resume --set network.channels=16)
python -m mzsr train pretrain --preset smoke --out "$out/t" "${small[@]}" \
    --set iterations=400 --set batch=8 --set patch=72 --set save_every=100 --set learning_rate=0.002
python -m mzsr train meta --preset smoke --out "$out/m" "${small[@]}" --from "$out/t/weights.safetensors" \
    --set iterations=40 --set patch=64 --set save_every=10
python -m mzsr degrade "$data/bench/Set5/butterfly.png" -o "$out/small.png" --kernel gauss:2.0 --subsample direct --overwrite
python -m mzsr upscale "$out/small.png" -o "$out/large.png" --model "$out/m/weights.safetensors" \
    --kernel gauss:2.0 --subsample direct --overwrite
python -m mzsr bench quality --data "$data/bench/Set5" --kernels g2.0d --methods "bicubic,$out/m/weights.safetensors" --out "$out/q"
