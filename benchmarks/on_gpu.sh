#!/usr/bin/env bash
# Every check and figure that needs a GPU, in one call. Needs torch with CUDA, numpy, numba, OpenCV
# and scikit-learn, and for the whole prior step pydantic, PyYAML and Pillow, which decode and check;
# results go to $OUT, or to benchmarks/results.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT="${OUT:-benchmarks/results}"
mkdir -p "$OUT"
export PYTHONPATH=.
failed=0
if python -c 'import pytest, hypothesis' 2>/dev/null; then
  python -m pytest -q tests/crosscity/matching/test_on_device.py tests/crosscity/matching/test_kernels.py \
    || failed=1
fi
for in_flight in 4 12; do
  timeout 240 python benchmarks/matching.py --throughput-only --device cuda --in-flight "$in_flight" \
    --pairs 4 --out "$OUT/matching_cuda_$in_flight" || failed=1
done
# The whole prior step, with kernels and without: at the default, halved with a radius, halved full,
# and on the processor.
timeout 400 python benchmarks/prior.py speed --places 2 --device cuda --out "$OUT/prior_cuda.json" ||
  failed=1
CROSSCITY_KERNELS=off timeout 400 python benchmarks/prior.py speed --places 2 --repeats 1 \
  --device cuda --out "$OUT/prior_cuda_without_kernels.json" || failed=1
timeout 300 python benchmarks/adapt.py --device cuda --output "$OUT" || failed=1
exit "$failed"
