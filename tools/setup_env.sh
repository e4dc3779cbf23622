#!/usr/bin/env bash
# Makes the environment of this clone: a virtual environment with the pinned set of packages,
# mmcv-full compiled on this machine, and freekd itself (editable).
#
#   bash tools/setup_env.sh
#
# Safe to call again at any time: with nothing changed it ends at once, and a call that was
# interrupted is continued by the next one (also in the middle of compiling mmcv-full).
# Nothing is written before the checks of `preflight` have passed.
#
# Settings, all optional, read from the environment:
#   FREEKD_VENV        where the environment goes           (default: .venv in this clone)
#   FREEKD_PYTHON      the Python to make it from           (default: python3.11, 3.12, 3.10, python3)
#   FREEKD_CACHE       keeps compiled mmcv-full wheels      (default: ~/.cache/freekd)
#   FREEKD_CPU_OPS=1   on a machine with an NVIDIA GPU: compile the CPU ops of mmcv-full only
#   FREEKD_TORCH_CUDA  CUDA version of the torch that your pip index delivers, where it is not 13.0
#   TORCH_CUDA_ARCH_LIST, CUDA_HOME, CXX, CC, MAX_JOBS: as usual
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
SECONDS=0
# The caller's shell may point Python or pip elsewhere; this script talks about one environment only.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

home_cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}
venv=${FREEKD_VENV:-.venv} cache=${FREEKD_CACHE:-$home_cache/freekd}
[ "${venv#/}" != "$venv" ] || venv=$root/$venv
[ "${cache#/}" != "$cache" ] || cache=$root/$cache
py=$venv/bin/python
state=$venv/.freekd # the stamp, the lock and what this script noted about the environment
log=$venv/setup.log

# Measured on Linux x86_64 with the pinned set, rounded up (MiB).
mib_venv=6000     # a finished environment, torch with its CUDA libraries included
mib_download=2900 # the wheels, while pip unpacks them (in TMPDIR) and once more in pip's own cache
mib_build=700     # compiling mmcv-full in the cache folder: 430 with CPU ops, of it 410 torch's headers, precompiled
mib_wheel=100     # the finished wheel
mib_margin=500

say() { printf '%s\n' "$*"; }
took() { # took SINCE -> "75 s" or "6 min 12 s"
  local s=$((SECONDS - $1))
  if [ "$s" -lt 100 ]; then say "$s s"; else say "$((s / 60)) min $((s % 60)) s"; fi
}
pinned() { sed -n "s/^$1==\([^ ;]*\).*/\1/p" "requirements/${2:-pinned}.txt" | head -n 1; }
mmcv_version=$(pinned mmcv-full mmcv)
noted() { cat "$state/$1" 2>/dev/null || true; }
installed() { # version of a distribution in the environment, else nothing
  "$py" -I -c 'import sys, importlib.metadata as m; print(m.version(sys.argv[1]))' "$1" 2>/dev/null || true
}
python_version() { # "3.11" of an interpreter that really runs, else nothing
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' </dev/null 2>/dev/null || true
}

# shellcheck source=tools/_mmcv.sh
source tools/_mmcv.sh # choose_ops, check_compiler, install_mmcv and what belongs to them

# ---------------------------------------------------------------- is there anything to do?

inputs_hash() {
  {
    cat requirements/*.txt setup.py tools/setup_env.sh tools/_mmcv.sh tools/pch_cxx.sh tools/_env_check.py
    "$py" -I -S -c 'import sys; print(sys.version, sys.prefix)'
    (cd "$venv" && pwd -P)
    say "$root" "${FREEKD_CPU_OPS:-}" "${TORCH_CUDA_ARCH_LIST:-}"
    # The GPUs: from /proc where it has them, as nvidia-smi takes seconds to answer.
    cat /proc/driver/nvidia/gpus/*/information 2>/dev/null | grep -i '^model' ||
      timeout 20 nvidia-smi -L 2>/dev/null || true
  } | sha256sum | cut -d' ' -f1
}

up_to_date() {
  [ -x "$py" ] && [ -f "$state/stamp" ] || return 1
  [ -z "${FREEKD_PYTHON:-}" ] || [ "$(python_version "$FREEKD_PYTHON")" = "$(python_version "$py")" ] || return 1
  [ "$(noted stamp)" = "$(inputs_hash)" ]
}

# ---------------------------------------------------------------- checks before any change

problems=()
problem() { problems+=("$1"); }

existing_parent() { # the nearest folder above (or at) a path that exists
  local d=$1
  while [ ! -d "$d" ]; do d=$(dirname "$d"); done
  say "$d"
}

check_places() {
  local place d
  place=$(noted place) # written before the environment is made, so also there after an interruption
  if [ -n "$place" ] && [ "$place" != "$(cd "$venv" && pwd -P)" ]; then
    problem "$venv was made as $place; a virtual environment cannot be moved.
Delete it: rm -rf '$venv'"
  elif [ -z "$place" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -e "$venv" ] && [ -n "$(ls -A "$venv")" ]; then
    problem "$venv exists and is no virtual environment.
Move it away, or name another place with FREEKD_VENV."
  fi
  for d in "$venv" "$cache"; do
    d=$(existing_parent "$d")
    [ -w "$d" ] || problem "$d cannot be written to.
Name other places with FREEKD_VENV and FREEKD_CACHE."
  done
}

# What makes an interpreter unfit; nothing when it is fit.
python_faults() {
  local version include faults=''
  version=$(python_version "$1")
  case $version in
    3.10 | 3.11 | 3.12) ;;
    '') say "does not run" && return ;; # as pyenv's shims for versions that are not selected
    *) say "is Python $version" && return ;;
  esac
  "$1" -c 'import venv, ensurepip; ensurepip.version()' >/dev/null 2>&1 </dev/null ||
    faults="cannot make virtual environments (module venv or ensurepip missing)"
  set_key "$1" "${torch_version:-$(pinned torch)}"
  if must_compile; then
    include=$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["include"])' </dev/null)
    [ -f "$include/Python.h" ] || faults+="${faults:+, }has no C headers ($include/Python.h)"
  fi
  say "$faults"
}

choose_python() { # sets python, or reports what is wrong with each interpreter there is
  local exe path faults version tried='' wanted=${FREEKD_PYTHON:-}
  local candidates=(python3.11 python3.12 python3.10 python3)
  [ -z "$wanted" ] || candidates=("$wanted")
  if [ -x "$py" ]; then
    candidates=("$py")
    version=$(python_version "$py")
    if [ -z "$version" ]; then
      problem "The environment $venv is broken: its interpreter no longer runs.
Delete it: rm -rf '$venv'"
      return
    elif [ -n "$wanted" ] && [ "$(python_version "$wanted")" != "$version" ]; then
      problem "$venv was made with Python $version, FREEKD_PYTHON=$wanted is Python $(python_version "$wanted").
Delete the environment (rm -rf '$venv'), or name another place with FREEKD_VENV."
      return
    fi
  fi
  for exe in "${candidates[@]}"; do
    path=$(command -v "$exe") || {
      [ -z "$wanted" ] || tried=$'\n'"  $exe: not found"
      continue
    }
    faults=$(python_faults "$path")
    [ -n "$faults" ] || { python=$path && return; }
    tried+=$'\n'"  $path: $faults"
  done
  problem "Python 3.10, 3.11 or 3.12 is needed, with venv and its C headers. Found:${tried:-$'\n  none'}
Install it (Debian, Ubuntu: apt-get install python3.11 python3.11-venv python3.11-dev),
or name one: FREEKD_PYTHON=/path/to/python3.11"
}

check_disk() {
  local have=0 build=$mib_wheel download=$mib_download mib place disk mib_free
  [ ! -d "$venv" ] || have=$(du -sm "$venv" 2>/dev/null | cut -f1)
  [ -z "$torch_version" ] || download=300
  [ "$compile" = 0 ] || build=$((mib_build + mib_wheel))
  local -A need=() free=() places=() # by disk, as several places may lie on one
  while read -r mib place; do
    read -r disk mib_free < <(df -Pk "$(existing_parent "$place")" | awk 'NR == 2 { print $1, int($4 / 1024) }')
    free[$disk]=$mib_free
    need[$disk]=$((${need[$disk]:-$mib_margin} + mib))
    places[$disk]+="${places[$disk]:+, }$place ($mib MiB)"
  done <<<"$((mib_venv > have ? mib_venv - have : 0)) $venv
$build $cache
$download ${TMPDIR:-/tmp}
$download ${PIP_CACHE_DIR:-$home_cache/pip}"
  for disk in "${!need[@]}"; do
    [ "${free[$disk]}" -ge "${need[$disk]}" ] ||
      problem "Not enough disk on $disk: ${free[$disk]} MiB are free, ${need[$disk]} MiB are needed,
for ${places[$disk]}.
Free some, or move a part: FREEKD_VENV, FREEKD_CACHE, TMPDIR, PIP_CACHE_DIR."
  done
}

preflight() { # sets python, ops and what goes with it; or refuses, telling all that is missing at once
  [ "$(uname -s)" = Linux ] || problem "This script knows Linux only; this is $(uname -s).
Install by hand after requirements/pinned.txt (see its first lines)."
  python='' torch_version='' compile=0
  [ ! -x "$py" ] || torch_version=$(installed torch)
  case $torch_version in
    "$(pinned torch)" | "$(pinned torch)"+*) ;;
    *) torch_version='' ;; # none, or one that is going to be replaced
  esac
  check_places
  choose_ops
  choose_python
  [ -z "$python" ] || set_key "$python" "${torch_version:-$(pinned torch)}"
  if [ -z "$python" ] || must_compile; then
    compile=1
    check_compiler
  fi
  check_disk

  [ ${#problems[@]} -gt 0 ] || return 0
  {
    say "setup_env.sh: this machine is not ready; nothing has been changed."
    printf '\n  * %s\n' "${problems[@]//$'\n'/$'\n'    }"
    printf '\nThen run it again: bash tools/setup_env.sh\n'
  } >&2
  exit 1
}

# ---------------------------------------------------------------- running a step

child=''
stop_child() { # an interrupted call takes its compilers with it
  [ -z "$child" ] || kill -TERM -- "-$child" 2>/dev/null || true
}
interrupted() {
  say "Interrupted. Call it again to continue: bash tools/setup_env.sh"
  exit "$1"
}
trap stop_child EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'exit 129' HUP

steps=6 step_number=0
step() { # step TITLE EXPECTATION COMMAND...: output goes to the log, progress to the screen
  local title=$1 expect=$2 t0=$SECONDS beat=30 rc=0 note
  shift 2
  step_number=$((step_number + 1))
  say "[$step_number/$steps] $title ($expect)"
  printf '\n=== %s  %s\n$ %s\n' "$(date '+%F %T')" "$title" "$*" >>"$log"
  set -m # its own process group, so that it can be stopped as a whole
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    [ $((SECONDS - t0)) -ge $beat ] || continue
    beat=$((beat + 30))
    note=$(tail -c 200000 "$log" | grep -aoE '^\[[0-9]+/[0-9]+\]' | tail -n 1 | tr -d '[]' || true) # ninja's
    say "      ... $(took $t0)${note:+, file ${note/\// of }}"
  done
  wait "$child" || rc=$?
  child=''
  [ "$rc" != 0 ] || { say "      done in $(took $t0)" && return; }
  {
    say "      failed after $(took $t0) (exit status $rc). The last lines of $log:"
    printf '\n%s\n\n' "$(tail -n 30 "$log")"
    say "setup_env.sh: step \"$title\" failed; all of its output is in $log"
    case $(tail -n 200 "$log") in # the usual causes
      *'No space left on device'*) say "The disk is full: free some space and call it again." ;;
      *'Killed signal terminated program'* | *'out of memory'*)
        say "The compiler ran out of memory: MAX_JOBS=1 bash tools/setup_env.sh" ;;
      *'No matching distribution found'* | *'Connection'* | *'timed out'* | *'Temporary failure in name resolution'*)
        say "pip could not get a package: check the network, and pip's own settings (python -m pip config list)." ;;
      *) say "Calling it again continues where it stopped." ;;
    esac
  } >&2
  exit 1
}

lock() { # lock FD MESSAGE: waits for it, saying so
  command -v flock >/dev/null || return 0
  flock -n "$1" && return 0
  say "      $2; waiting for it"
  flock "$1"
}

# ---------------------------------------------------------------- the steps

# --no-build-isolation: the few source packages build with the pinned setuptools, not the newest.
pip() { "$py" -m pip --no-color "$@"; }
pip_install() { pip install --progress-bar off --no-build-isolation "$@"; }

make_venv() {
  local package
  # An interrupted pip leaves packages without a RECORD, which it would take for installed.
  for package in "$venv"/lib/python3*/site-packages/*.dist-info; do
    [ ! -d "$package" ] || [ -f "$package/RECORD" ] || rm -rf "$package"
  done
  rm -rf "$venv"/lib/python3*/site-packages/~*
  if [ ! -x "$py" ] || ! "$py" -m pip --version; then "$python" -m venv "$venv"; fi
  pip install -r requirements/build.txt
}

# torch first, alone, because it is most of the download
install_torch() {
  pip_install -c requirements/constraints.txt -c requirements/pinned.txt \
    "torch==$(pinned torch)" "torchvision==$(pinned torchvision)" "numpy==$(pinned numpy)"
}

# opencv-python-headless is in this set: mmcv-full asks for opencv-python when it is built without one.
install_packages() {
  pip_install -c requirements/constraints.txt -r requirements/pinned.txt -r requirements/dev.txt
  pip_install --no-deps -r requirements/robustness.txt # asks for an opencv that would replace ours
}

done_already() {
  up_to_date || return 1
  say "Environment is up to date: $venv"
}

main() {
  local devices=(cpu) minutes=5
  ! done_already || return 0
  preflight
  mkdir -p "$state"
  exec 9>"$state/lock"
  lock 9 "another setup_env.sh is at work on $venv"
  ! done_already || return 0

  rm -f "$state/stamp"
  (cd "$venv" && pwd -P) >"$state/place"
  : >"$log"
  say "Making the environment $venv with Python $(python_version "$python") ($python)"
  say "Output of all steps: $log"
  [ "$ops" != cuda ] || devices+=(cuda) minutes=50 steps=7

  step "virtual environment and build tools" "a few seconds" make_venv
  step "torch $(pinned torch) and torchvision" "the largest download: 1 to 5 minutes" install_torch
  step "the other packages of requirements/" "about 1 minute" install_packages
  # the driver may be too old for this torch; known before an hour of compiling
  [ "$ops" != cuda ] || step "torch and the GPU agree" "seconds" \
    "$py" tools/_env_check.py gpu "$(nvcc_release "$nvcc")" "$archs"

  set_key "$py" "$(installed torch)"
  if have_mmcv; then
    step "mmcv-full $mmcv_version" "already there: $key" true
  elif [ -n "$(kept_wheel)" ]; then
    step "mmcv-full $mmcv_version" "compiled before: $cache/wheels/$key" install_mmcv
  else
    minutes=$(((minutes + $(nproc) - 1) / $(nproc)))
    step "mmcv-full $mmcv_version: compiling its ops for $key" \
      "about $minutes min on $(nproc) cores, once per machine" install_mmcv
  fi
  step "freekd itself, editable" "a few seconds" pip_install --no-deps -e "$root"
  step "everything imports and the ops run" "seconds" "$py" tools/_env_check.py ops "${devices[@]}"

  inputs_hash >"$state/stamp.new"
  mv "$state/stamp.new" "$state/stamp"
  say "Environment is ready after $(took 0): $venv"
}

main "$@"
