#!/bin/sh
# Trains stage 2 from a pack of 'personatalk data pack' on one GPU, within so many minutes:
#
#     sh scripts/train_stage2_gpu.sh PACK RUN [MINUTES] [--set FIELD=VALUE ...]
#
# RUN then holds the weights (best.safetensors, last.safetensors), the curves and a sheet of held-out mouths, real and
# rendered. The schedule follows the clock. STEPS=10 trains so many steps instead, which shows on any processor that all
# is in place.
set -eu
pack=$1 run=$2 minutes=${3:-8}
shift 2
[ $# -gt 0 ] && shift
exec "${PYTHON:-python3}" -m personatalk train stage2 "$pack" -o "$run" --minutes "$minutes" \
    --set steps="${STEPS:-0}" --set batch_size="${BATCH:-16}" --set targets_per_window=6 --set resident=true \
    --set workers=$(($(nproc) > 2 ? $(nproc) - 1 : 0)) --set warmup_steps=100 --set perceptual_weight=0.3 \
    --set adversarial_weight=0.3 --set feature_matching_weight=30 --set adversarial_start=0.4 \
    --set validate_every=1000000 --set save_every=1000 "$@"
