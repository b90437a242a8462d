#!/usr/bin/env bash
# Every table of docs/measured.md and README.md, from nothing, by way of docs/results. Stop it at any time, run it again,
# and it goes on where it was: what is measured already, by the same weights, is not measured again.
#
# command: bash runs/bench.sh ../shared/data [OUT] [NAME...]   (NAME: only these of the runs below)
# machine: 2 cores of an Intel Xeon with AMX or of an AMD EPYC (bfloat16), some of a Xeon without (float32), as docs/measured.md says, torch 2.13
# hours:   3
# score:   docs/measured.md
set -euo pipefail
data=${1:?give the folder that holds train/ and bench/}/bench
out=${2:-out/bench}
only=("${@:3}")
known=" "
asked() { # name of a run
    known+="$1 "
    [ ${#only[@]} -eq 0 ] || [[ " ${only[*]} " == *" $1 "* ]]
}
bench() { # kind, name of the CSV, options
    asked "$2" || return 0
    rm -f "$out/$2/results.csv"  # so that no earlier one is taken for this one's
    # 1: something was named as not measurable, for instance the pictures beyond the 50 kernels; the rest is done
    python -m mzsr bench "$1" --out "$out/$2" "${@:3}" || test $? = 1
    cp "$out/$2/results.csv" "docs/results/$2.csv"
}
sets=(--data "$data/Set5" --data "$data/BSD100")
adapting=bicubic,mzsr,mzsr:blind,mzsr:wrong,mzsr-meta,mzsr-meta:blind,mzsr-meta:wrong
paper_x2=mzsr-x2-direct,mzsr-x2-direct:bp,mzsr-x2-bicubic,mzsr-x2-bicubic:bp,mzsr-multiscale,mzsr-multiscale:bp
paper_x4=mzsr-x4-direct,mzsr-x4-direct:bp,mzsr-multiscale,mzsr-multiscale:bp
foreign=(--data "$data/DIV2K_valid" --kernels "$data/kernels")

bench quality flagship-x2 "${sets[@]}"
bench quality flagship-x4 "${sets[@]}" -s 4 --kernels g2.0d
bench quality edsr-x2 "${sets[@]}" --kernels bicubic --methods edsr-s-x2-l1,edsr-s-x2-udl --steps 0
bench quality edsr-x4 "${sets[@]}" -s 4 --kernels bicubic --methods bicubic,mzsr,edsr-s-x4-l1 --steps 0
bench quality edsr-rgb --data "$data/Set5" --kernels bicubic --methods edsr-s-x2-l1,edsr-s-x2-udl --steps 0 --protocol rgb
bench quality edsr-x4-rgb --data "$data/Set5" -s 4 --kernels bicubic --methods edsr-s-x4-l1 --steps 0 --protocol rgb
bench quality modes --data "$data/Set5" --methods mzsr,mzsr:x8 --workers 1  # for its seconds
bench quality adaptation-x2 "${foreign[@]}" --methods "$adapting"
bench quality adaptation-x4 "${foreign[@]}" --methods "$adapting" -s 4
bench quality paper-x2 --data "$data/Set5" --methods "$paper_x2"
bench quality paper-x4 --data "$data/Set5" --methods "$paper_x4" -s 4 --kernels g2.0d
bench quality zssr --data "$data/Set5" --methods zssr --zssr-iterations 300 --kernels g0.2d,g2.0d,g_ani-d
bench blind blind --data "$data/BSD100" --every 5 --kernels "gaussians,disks,boxes,motions,bicubic" --conditions clean,noise,jpeg
bench blind gaussians "${sets[@]}" --kernels gaussians --conditions clean,noise,jpeg --methods mzsr
for condition in "jpeg-80 --jpeg 80" "jpeg-60 --jpeg 60" "noise-5 --noise 5/255" "noise-10 --noise 10/255"; do
    read -ra said <<<"$condition"
    bench quality "degraded-${said[0]}" --data "$data/BSD100" --every 5 --kernels g2.0d --methods bicubic,mzsr,mzsr:clean,mzsr:blind \
        --steps 0,1 "${said[@]:1}"
done
# What a loss is worth: the weights that runs/train_udl.sh leaves
compare() { # scale
    local trained
    trained=$(shopt -s nullglob && printf '%s,' out/udl/x"$1"-*/{l1,eu,esu,udl,udl-of-eu,error-map,gradient-map}/weights.safetensors)
    if [ "$trained" = , ]; then
        echo "no weights at x$1, which runs/train_udl.sh makes: its table stays as it is"
        return
    fi
    local how=(-s "$1" --methods "${trained%,}" --protocol edsr --kernels bicubic --steps 0)
    bench quality "losses-x$1" --data "$data/Set5" --data "$data/Set14" "${how[@]}"
    bench quality "losses-x$1-large" --data "$data/BSD100" --data "$data/DIV2K_valid" --every 5 "${how[@]}"
}
for scale in 2 4; do if asked "losses-x$scale" || asked "losses-x$scale-large"; then compare "$scale"; fi; done
if asked calibration; then
    python runs/calibration.py --data "$data/BSD100" --data "$data/Kodak24" --out docs/results
fi
bench speed speed --sizes 64,128,256,512,1024,2048 --limit 60s
if [ ${#only[@]} -eq 0 ]; then
    python runs/publish.py mzsr --scores docs/results/flagship-x2.csv
    for loss in l1 udl; do python runs/publish.py "edsr-s-x2-$loss" --scores docs/results/edsr-x2.csv; done
    python runs/publish.py edsr-s-x4-l1 --scores docs/results/edsr-x4.csv
    python runs/publish.py mzsr-x4 --method mzsr --scores docs/results/flagship-x4.csv
    for model in mzsr-x2-direct mzsr-x2-bicubic mzsr-x4-direct mzsr-multiscale; do
        python runs/publish.py "$model" --scores docs/results/paper-x2.csv docs/results/paper-x4.csv
    done
    python runs/publish.py mzsr-meta --scores docs/results/adaptation-x2.csv docs/results/adaptation-x4.csv
    python runs/publish.py mzsr-jpeg --method mzsr --scores docs/results/degraded-jpeg-{80,60}.csv
    python runs/tables.py
fi
for name in "${only[@]}"; do
    [[ "$known" == *" $name "* ]] || { echo "$name is none of the runs of $0, which are:$known" >&2; exit 2; }
done
