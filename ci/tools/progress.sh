# Sourced by the scripts in ci/: messages, the cache folder, and locks.
# shellcheck shell=bash

# Messages go to stderr: stdout holds only the result of the script.
say() { printf '%s\n' "$*" >&2; }

# fail WHAT [LINE...]: prints the error, then how to fix it.
fail() {
  say "error: $1"
  shift
  if (($#)); then printf '       %s\n' "$@" >&2; fi
  exit 1
}

# clock SECONDS: 45s, 2m05s
clock() {
  if (($1 < 60)); then printf '%ds' "$1"; else printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); fi
}

flokoa_cache() { printf '%s/flokoa' "${XDG_CACHE_HOME:-$HOME/.cache}"; }

# hold LOCK WHAT: waits until this process is the only one to hold LOCK, until it ends. Programs that outlive the caller
# must be started with 9>&-, or they keep the lock.
hold() {
  mkdir -p "${1%/*}"
  if command -v flock >/dev/null; then
    exec 9>"$1"
    flock -n 9 && return
    say "waiting for another process that holds $1 ($2)"
    flock 9
  else
    hold_by_folder "$1.held" "$2"
  fi
}

# Where there is no flock (macOS): making a folder either succeeds or fails, for one process only. The holder's number
# is written into it, because a folder stays when its maker is killed.
hold_by_folder() {
  local holder='' reported=''
  until mkdir "$1" 2>/dev/null; do
    holder=$(cat "$1/pid" 2>/dev/null || true)
    if [[ -n $holder ]] && ! kill -0 "$holder" 2>/dev/null; then
      rm -rf "$1"
      continue
    fi
    [[ -n $reported ]] || say "waiting for process ${holder:-that just started}, which holds $1 ($2)"
    reported=1
    sleep 0.5
  done
  echo $$ >"$1/pid"
  held=$1
}

# release gives back what hold_by_folder took; a lock by flock goes with the process. Call it when the script exits.
held=''
release() { if [[ -n $held ]]; then rm -rf "$held"; fi; }

# program PID: the path that it was started by; nothing when there is no such process. It distinguishes a
# recorded process from another that has got its number since; not every machine has ps.
program() {
  local path=''
  if [[ -e /proc/self/cmdline ]]; then
    { IFS= read -r -d '' path <"/proc/$1/cmdline"; } 2>/dev/null || true
  else
    path=$(ps -o command= -p "$1") || true
    path=${path%% --*}
  fi
  printf '%s' "$path"
}

# watch_over WHAT COMMAND...: runs the command, reports its progress every ten seconds, and shows its output only when it
# fails. A script that uses it stops $watched when it is interrupted: Ctrl-C does not reach a background job.
watched=''
watch_over() {
  local what=$1 started=$SECONDS next=$((SECONDS + 10)) output
  shift
  output=$(mktemp)
  "$@" >"$output" 2>&1 9>&- &
  watched=$!
  while kill -0 "$watched" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS >= next)); then
      say "$what: $(clock $((SECONDS - started)))"
      next=$((SECONDS + 10))
    fi
  done
  if ! wait "$watched"; then
    tail -n 40 "$output" >&2
    rm -f "$output"
    fail "$what: failed after $(clock $((SECONDS - started))); the end of its output is above"
  fi
  watched=''
  rm -f "$output"
  say "$what: done in $(clock $((SECONDS - started)))"
}
