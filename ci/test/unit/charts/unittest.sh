#!/usr/bin/env bash
# Runs the tests that the charts carry (charts/*/tests/*_test.yaml) with the pinned helm-unittest.
#
#   ci/test/unit/charts/unittest.sh                     every chart
#   ci/test/unit/charts/unittest.sh --update-snapshot   and take what is rendered now as the new snapshot: read the diff
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../../.."

helm_unittest=$(ci/tools/build.sh helm-unittest)/helm-unittest
# --strict: a misspelt key in a test file is an error instead of a test that asserts nothing.
exec "$helm_unittest" --strict "$@" charts/*/
