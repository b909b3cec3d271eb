#!/usr/bin/env bash
# Every check and figure that needs a GPU, in one call, or those parts that are named:
#   benchmarks/on_gpu.sh [tests] [matching] [prior] [prior_without_kernels] [adapt]
# Each part ends within ten minutes, and writes what it has row by row. Needs torch with CUDA, numpy,
# numba, OpenCV, lightning and scikit-learn; where pydantic, PyYAML, Pillow and pyarrow are, the
# pipeline's own prior step is timed, else the same by the library alone. Results go to $OUT, or to
# benchmarks/results. What fails, or leaves the device for the processor, makes the call fail.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT="${OUT:-benchmarks/results}"
mkdir -p "$OUT"
export PYTHONPATH=.
failed=0

tests() {
  if ! python -c 'import pytest, hypothesis'; then
    echo "on_gpu.sh: the tests need pytest and hypothesis, and were left out" >&2
    return 1
  fi
  timeout 540 python -m pytest -q --noconftest -o addopts=--import-mode=importlib \
    tests/crosscity/matching/test_on_device.py tests/crosscity/matching/test_kernels.py
}

matching() {
  local ended=0
  for in_flight in 4 12; do
    timeout 240 python benchmarks/matching.py --throughput-only --device cuda \
      --in-flight "$in_flight" --pairs 4 --out "$OUT/matching_cuda_$in_flight" || ended=1
  done
  return "$ended"
}

# The whole prior step: at the default, halved with a radius, halved full, and on the processor.
prior_step() {
  local step=(prior_step.py)
  if python -c 'import pydantic, yaml, PIL, pyarrow' 2>/dev/null; then step=(prior.py speed); fi
  timeout 540 python "benchmarks/${step[0]}" "${step[@]:1}" --places 2 --device cuda --out "$1"
}

prior() { prior_step "$OUT/prior_cuda.json"; }

prior_without_kernels() {
  CROSSCITY_KERNELS=off prior_step "$OUT/prior_cuda_without_kernels.json"
}

adapt() { timeout 540 python benchmarks/adapt.py --device cuda --output "$OUT"; }

parts=(tests matching prior prior_without_kernels adapt)
for part in "${@:-${parts[@]}}"; do
  case " ${parts[*]} " in
    *" $part "*) ;;
    *) echo "on_gpu.sh: no part is called '$part': ${parts[*]}" >&2; exit 2 ;;
  esac
done
for part in "${@:-${parts[@]}}"; do
  if ! "$part"; then
    echo "on_gpu.sh: $part failed" >&2
    failed=1
  fi
done
exit "$failed"
