#!/usr/bin/env bash
# Every check and figure that needs a GPU, in one call. Needs torch with CUDA, numpy, numba, OpenCV,
# lightning and scikit-learn; where pydantic, PyYAML, Pillow and pyarrow are, the pipeline's own prior step is
# timed, else the same by the library alone. Results go to $OUT, or to benchmarks/results.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT="${OUT:-benchmarks/results}"
mkdir -p "$OUT"
export PYTHONPATH=.
failed=0
if python -c 'import pytest, hypothesis' 2>/dev/null; then
  python -m pytest -q --noconftest -o addopts=--import-mode=importlib \
    tests/crosscity/matching/test_on_device.py tests/crosscity/matching/test_kernels.py || failed=1
fi
for in_flight in 4 12; do
  timeout 240 python benchmarks/matching.py --throughput-only --device cuda --in-flight "$in_flight" \
    --pairs 4 --out "$OUT/matching_cuda_$in_flight" || failed=1
done
# The whole prior step, with kernels and without: at the default, halved with a radius, halved full,
# and on the processor.
step="prior_step.py"
if python -c 'import pydantic, yaml, PIL, pyarrow' 2>/dev/null; then step="prior.py speed"; fi
# shellcheck disable=SC2086 - a script and its verb
timeout 400 python benchmarks/$step --places 2 --device cuda --out "$OUT/prior_cuda.json" || failed=1
# shellcheck disable=SC2086
CROSSCITY_KERNELS=off timeout 400 python benchmarks/$step --places 2 --repeats 1 \
  --device cuda --out "$OUT/prior_cuda_without_kernels.json" || failed=1
timeout 300 python benchmarks/adapt.py --device cuda --output "$OUT" || failed=1
exit "$failed"
