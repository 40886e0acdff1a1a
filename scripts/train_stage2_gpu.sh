#!/bin/sh
# Trains stage 2 from a pack of 'personatalk data pack' on one GPU, within so many minutes:
#
#     sh scripts/train_stage2_gpu.sh PACK RUN [MINUTES] [--set FIELD=VALUE ...]
#
# RUN then holds the weights (best.safetensors, last.safetensors), the curves and a sheet of held-out mouths, real and
# rendered. A short trial measures the steps a minute, so that the schedule ends in time. STEPS=10 trains so many steps
# instead, which shows on any processor that all is in place.
set -eu
pack=$1 run=$2 minutes=${3:-8}
shift 2
[ $# -gt 0 ] && shift
train() {
    "${PYTHON:-python3}" -m personatalk train stage2 "$pack" -o "$@"
}
workers=$(($(nproc) > 2 ? $(nproc) - 1 : 0))
fields="--set workers=$workers --set batch_size=${BATCH:-8} --set targets_per_window=6 --set warmup_steps=50
    --set perceptual_weight=0.3 --set adversarial_weight=0.02 --set feature_matching_weight=10"
if [ -z "${STEPS:-}" ]; then
    trial=40
    begin=$(date +%s)
    # shellcheck disable=SC2086 # the fields are several words
    train "$run/trial" $fields --set steps=$trial --set validate_every=100000 --set adversarial_start_step=0 "$@"
    spent=$(($(date +%s) - begin))
    STEPS=$(((minutes * 60 - spent - 60) * trial / (spent > 15 ? spent - 10 : 5)))
fi
# shellcheck disable=SC2086
train "$run" $fields --minutes "$minutes" --set steps="$STEPS" --set adversarial_start_step=$((STEPS / 2)) \
    --set validate_every=$((STEPS / 4 + 1)) --set save_every=$((STEPS / 4 + 1)) "$@"
