#!/usr/bin/env bash
# Builds everything and runs the whole test suite; closes with "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/setup.sh

if ! need as || ! need objcopy; then
  provide 'GNU as and objcopy, the oracle of the assembler,' \
    'apt-get update && apt-get install -y --no-install-recommends binutils'
fi

dotnet build -c Release -v quiet --nologo

passed=0 failed=0 skipped=0

# run LABEL PROJECT [ARGUMENTS...]: runs a test program and adds up the counts of its summary line.
run() {
  local label=$1 project=$2 log status=0
  shift 2
  log=$(mktemp)
  echo "== $label"
  "tests/$project/bin/Release/net10.0/$project" -noColor -noLogo "$@" 2>&1 | tee "$log" | grep -v -E '^ *(Discover|Starting|Finished)' || true
  status=${PIPESTATUS[0]}
  local summary total errors fails skips
  summary=$(grep -E 'Total: [0-9]+, Errors: [0-9]+, Failed: [0-9]+, Skipped: [0-9]+' "$log" | tail -n 1 || true)
  rm -f "$log"
  if [ -z "$summary" ]; then
    echo "$label: the test program ended without a summary (exit code $status)" >&2
    failed=$((failed + 1))
    return
  fi
  total=$(sed -E 's/.*Total: ([0-9]+).*/\1/' <<< "$summary")
  errors=$(sed -E 's/.*Errors: ([0-9]+).*/\1/' <<< "$summary")
  fails=$(sed -E 's/.*Failed: ([0-9]+).*/\1/' <<< "$summary")
  skips=$(sed -E 's/.*Skipped: ([0-9]+).*/\1/' <<< "$summary")
  passed=$((passed + total - fails - skips))
  failed=$((failed + fails + errors))
  skipped=$((skipped + skips))
}

run "all tests" VlmSharp.Tests
run "command line" VlmSharp.Hosting.Tests
# The kernels again, as on machines without AVX-512 and without any vector instructions.
DOTNET_EnableAVX512=0 run "kernels without AVX-512" VlmSharp.Tests -namespace 'VlmSharp.Tests.Kernels*'
DOTNET_EnableHWIntrinsic=0 run "kernels without vector instructions" VlmSharp.Tests -namespace 'VlmSharp.Tests.Kernels*'

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
