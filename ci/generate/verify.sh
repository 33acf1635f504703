#!/usr/bin/env bash
# Checks that generated files and module files are what they would be if they were made now. Works on a copy: the tree
# is never changed, and uncommitted work is checked too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [[ -e $file ]]; then printf '%s\0' "$file"; fi
done | tar --null -cf - -T - | tar -xf - -C "$copy"

"$copy/ci/generate/generate.sh"
stale=0
while IFS= read -r -d '' file; do
  if ! diff -u "$file" "$copy/$file"; then stale=1; fi
done < <(cd "$copy" && find . -type f -print0)
if ((stale)); then
  echo "error: generated files are not current: run make generate and commit the result" >&2
  exit 1
fi

while read -r file; do
  if ! (cd "$(dirname "$file")" && go mod tidy -diff); then
    echo "error: $file is not tidy: run go mod tidy there" >&2
    exit 1
  fi
done < <(git ls-files --cached --others --exclude-standard 'go.mod' '*/go.mod')
echo 'verify: generated files and module files are current'
