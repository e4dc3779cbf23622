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
# The caller's shell may point Python or pip elsewhere; this script talks about one environment only.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

venv=${FREEKD_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
cache=${FREEKD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/freekd}
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
py=$venv/bin/python
state=$venv/.freekd # the stamp, the lock and what this script noted about the environment
log=$venv/setup.log
supported='3.10, 3.11 or 3.12'
mmcv_version=$(sed -n 's/^mmcv-full==\([0-9.]*\).*/\1/p' requirements/mmcv.txt)

# Measured on Linux x86_64 with the pinned set, rounded up (MiB).
mib_venv=6000     # a finished environment, torch with its CUDA libraries included
mib_download=2900 # the wheels, while pip unpacks them (in TMPDIR) and once more in pip's own cache
mib_build=500      # compiling mmcv-full in the cache folder (70 MiB after 20 of its 73 files)
mib_wheel=100     # the finished wheel
mib_margin=500

started=$SECONDS
say() { printf '%s\n' "$*"; }
took() { # seconds -> "75 s" or "6 min 12 s"
  if [ "$1" -lt 100 ]; then printf '%d s' "$1"; else printf '%d min %d s' $(($1 / 60)) $(($1 % 60)); fi
}

# ---------------------------------------------------------------- is there anything to do?

gpu_fingerprint() { # cheap: what the stamp remembers of the machine's GPUs
  command -v nvidia-smi >/dev/null 2>&1 || return 0
  if [ -d /proc/driver/nvidia/gpus ]; then
    cat /proc/driver/nvidia/gpus/*/information 2>/dev/null | grep -i '^model' || true
  else
    timeout 20 nvidia-smi -L 2>/dev/null || true
  fi
}

inputs_hash() {
  {
    cat requirements/*.txt setup.py tools/setup_env.sh
    "$py" -I -S -c 'import sys; print(sys.version, sys.prefix)'
    (cd "$venv" && pwd -P)
    printf '%s\n' "$root" "${FREEKD_CPU_OPS:-}" "${TORCH_CUDA_ARCH_LIST:-}"
    gpu_fingerprint
  } | sha256sum | cut -d' ' -f1
}

python_version() { # "3.11" of an interpreter that really runs, else nothing
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' </dev/null 2>/dev/null || true
}

up_to_date() {
  [ -x "$py" ] && [ -f "$state/stamp" ] || return 1
  if [ -n "${FREEKD_PYTHON:-}" ]; then
    [ "$(python_version "$FREEKD_PYTHON")" = "$(python_version "$py")" ] || return 1
  fi
  [ "$(cat "$state/stamp")" = "$(inputs_hash)" ]
}

# ---------------------------------------------------------------- checks before any change

problems=()
problem() { problems+=("$1"); }

refuse_if_problems() {
  [ ${#problems[@]} -gt 0 ] || return 0
  {
    say "setup_env.sh: this machine is not ready; nothing has been changed."
    local p
    for p in "${problems[@]}"; do printf '\n  * %s\n' "${p//$'\n'/$'\n'    }"; done
    printf '\nThen run it again: bash tools/setup_env.sh\n'
  } >&2
  exit 1
}

existing_parent() { # the nearest folder above (or at) a path that exists
  local d=$1
  while [ ! -d "$d" ]; do d=$(dirname "$d"); done
  printf '%s\n' "$d"
}

# What makes an interpreter unfit, one line each; nothing when it is fit.
python_faults() {
  local exe=$1 version include
  version=$(python_version "$exe")
  case $version in
    3.10 | 3.11 | 3.12) ;;
    '') say "does not run" && return ;;
    *) say "is Python $version" && return ;;
  esac
  "$exe" -c 'import venv, ensurepip; ensurepip.version()' >/dev/null 2>&1 </dev/null ||
    say "cannot make virtual environments (module venv or ensurepip missing)"
  if [ "$need_compiler" = 1 ]; then
    include=$("$exe" -c 'import sysconfig; print(sysconfig.get_paths()["include"])' </dev/null)
    [ -f "$include/Python.h" ] || say "has no C headers ($include/Python.h)"
  fi
}

choose_python() { # sets python, or reports what is wrong with each interpreter there is
  local candidates exe path faults tried='' version
  if [ -x "$py" ]; then
    version=$(python_version "$py")
    if [ -z "$version" ]; then
      problem "The environment $venv is broken: its interpreter no longer runs.
Delete it: rm -rf '$venv'"
      return
    fi
    if [ -n "${FREEKD_PYTHON:-}" ] && [ "$(python_version "$FREEKD_PYTHON")" != "$version" ]; then
      problem "$venv was made with Python $version, FREEKD_PYTHON=$FREEKD_PYTHON is Python $(python_version "$FREEKD_PYTHON").
Delete the environment (rm -rf '$venv'), or name another place with FREEKD_VENV."
      return
    fi
    candidates=("$py")
  elif [ -n "${FREEKD_PYTHON:-}" ]; then
    candidates=("$FREEKD_PYTHON")
  else
    candidates=(python3.11 python3.12 python3.10 python3)
  fi
  for exe in "${candidates[@]}"; do
    path=$(command -v "$exe" 2>/dev/null) || {
      [ ${#candidates[@]} -gt 1 ] || tried+=$'\n'"  $exe: not found"
      continue
    }
    faults=$(python_faults "$path")
    if [ -z "$faults" ]; then
      python=$path
      return
    fi
    tried+=$'\n'"  $path: $(printf '%s' "$faults" | paste -sd, - | sed 's/,/, /g')"
  done
  problem "Python $supported is needed, with venv and its C headers. Found:${tried:-$'\n'  none}
Install it (Debian, Ubuntu: apt-get install python3.11 python3.11-venv python3.11-dev), or name one: FREEKD_PYTHON=/path/to/python3.11"
}

check_venv_place() {
  # ($state/place is there when an earlier call was interrupted before it had made the environment)
  if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ ! -f "$state/place" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
    problem "$venv exists and is no virtual environment.
Move it away, or name another place with FREEKD_VENV."
  elif [ -f "$state/place" ] && [ "$(cat "$state/place")" != "$(cd "$venv" && pwd -P)" ]; then
    problem "$venv was made as $(cat "$state/place"); a virtual environment cannot be moved.
Delete it: rm -rf '$venv'"
  fi
  local d
  for d in "$venv" "$cache"; do
    [ -w "$(existing_parent "$d")" ] || problem "$(existing_parent "$d") cannot be written to.
Name other places with FREEKD_VENV and FREEKD_CACHE."
  done
}

check_compiler() {
  local cxx=${CXX:-c++} out
  if ! command -v "${cxx%% *}" >/dev/null 2>&1; then
    problem "No C++ compiler ($cxx), which compiling mmcv-full needs.
Install one (Debian, Ubuntu: apt-get install build-essential), or name one with CXX and CC."
    return
  fi
  # shellcheck disable=SC2086  # CXX may hold flags, or "ccache g++"
  if ! out=$($cxx -std=c++17 -x c++ -c -o /dev/null - 2>&1 <<'CPP'
#include <optional>
#include <vector>
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 9
#error torch needs g++ 9 or newer
#endif
std::optional<std::vector<int>> f() { return std::nullopt; }
CPP
  ); then
    problem "The C++ compiler $cxx cannot compile a small C++17 program:
$(printf '%s' "$out" | tail -n 4)
Install a newer one (Debian, Ubuntu: apt-get install build-essential), or name one with CXX and CC."
  fi
}

check_disk() {
  local need_cache=$mib_wheel place mib device free have pip_cache
  local -A need=() at=()
  [ "$have_wheel" = 1 ] || need_cache=$((mib_build + mib_wheel))
  have=0
  [ ! -d "$venv" ] || have=$(du -sm "$venv" 2>/dev/null | cut -f1)
  local need_venv=$((mib_venv - have)) need_download=$mib_download
  [ "$need_venv" -gt 0 ] || need_venv=0
  [ -z "$torch_version" ] || need_download=300
  pip_cache=${PIP_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/pip}
  while read -r mib place; do
    read -r device free < <(df -Pk "$(existing_parent "$place")" | awk 'NR == 2 { print $1, int($4 / 1024) }')
    need[$device]=$((${need[$device]:-$mib_margin} + mib))
    at[$device]="${at[$device]:+${at[$device]}, }$place ($mib MiB)"
    available[$device]=$free
  done <<EOF
$need_venv $venv
$need_cache $cache
$need_download ${TMPDIR:-/tmp}
$need_download $pip_cache
EOF
  for device in "${!need[@]}"; do
    [ "${available[$device]}" -ge "${need[$device]}" ] ||
      problem "Not enough disk on $device: ${available[$device]} MiB are free, ${need[$device]} MiB are needed, for ${at[$device]}.
Free some, or move a part: FREEKD_VENV, FREEKD_CACHE, TMPDIR, PIP_CACHE_DIR."
  done
}
declare -A available=()

find_nvcc() { # the nvcc of the wanted CUDA major version if there is one, else any; CUDA_HOME decides
  local major=$1 exe release other='' candidates
  if [ -n "${CUDA_HOME:-}" ]; then
    candidates=("$CUDA_HOME/bin/nvcc")
  else
    candidates=("$(command -v nvcc 2>/dev/null || true)" /usr/local/cuda/bin/nvcc "/usr/local/cuda-$major"*/bin/nvcc)
  fi
  for exe in "${candidates[@]}"; do
    [ -n "$exe" ] && [ -x "$exe" ] || continue
    release=$(nvcc_release "$exe")
    [ "${release%%.*}" != "$major" ] || { printf '%s\n' "$exe" && return; }
    other=${other:-$exe}
  done
  printf '%s\n' "$other"
}
nvcc_release() { "$1" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p'; }

# Sets ops to "cpu", or to "cuda" with nvcc, cuda_home and archs.
choose_ops() {
  ops=cpu nvcc='' cuda_home='' archs=''
  [ "${FREEKD_CPU_OPS:-0}" != 1 ] || return 0
  if ! { command -v nvidia-smi >/dev/null && timeout 60 nvidia-smi -L 2>/dev/null | grep -q '^GPU '; }; then
    # No GPU here, now. Ops that were built for one (a cluster's login node, say) also run on the CPU.
    if [ -x "$py" ] && [ "$(installed mmcv-full)" = "$mmcv_version" ]; then
      case $(cat "$state/mmcv" 2>/dev/null) in
        *-torch"$(pinned torch)"*-mmcv"$mmcv_version"-cuda*) ops=keep ;;
      esac
    fi
    return 0
  fi
  ops=cuda
  local cuda=${FREEKD_TORCH_CUDA:-13.0}
  local remedy="Install the CUDA toolkit $cuda (the version torch was built with), set CUDA_HOME if it is in an unusual place;
or go on with the CPU ops of mmcv-full: FREEKD_CPU_OPS=1 bash tools/setup_env.sh"
  nvcc=$(find_nvcc "${cuda%%.*}")
  if [ -z "$nvcc" ]; then
    problem "There is an NVIDIA GPU, but no nvcc to compile the CUDA ops of mmcv-full.
$remedy"
    return 0
  fi
  local release
  release=$(nvcc_release "$nvcc")
  if [ "${release%%.*}" != "${cuda%%.*}" ]; then
    problem "$nvcc is of CUDA $release, torch will be of CUDA $cuda: extensions need the same major version.
$remedy"
    return 0
  fi
  # nvcc may be a wrapper elsewhere; it tells itself where its toolkit lies.
  cuda_home=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p' | head -n 1)
  cuda_home=$(cd "${cuda_home:-$(dirname "$(readlink -f "$nvcc")")/..}" && pwd -P)
  archs=${TORCH_CUDA_ARCH_LIST:-}
  [ -z "$archs" ] || return 0
  archs=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | paste -sd';' -)
  [[ $archs =~ ^[0-9]+\.[0-9]+(\;[0-9]+\.[0-9]+)*$ ]] || problem "Cannot tell the GPU's compute capability (nvidia-smi --query-gpu=compute_cap).
Name it: TORCH_CUDA_ARCH_LIST=9.0 bash tools/setup_env.sh"
}

installed() { # version of a distribution in the environment, else nothing
  "$py" -I -c 'import sys, importlib.metadata as m; print(m.version(sys.argv[1]))' "$1" 2>/dev/null || true
}

mmcv_key() { # mmcv_key TORCH_VERSION -> the name under which the wheel is kept
  local tag what=cpu
  tag=$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
  [ "$ops" != cuda ] || what="cuda$(nvcc_release "$nvcc")-sm$(printf '%s' "$archs" | tr -c 'A-Za-z0-9.+' '+')"
  printf '%s-torch%s-mmcv%s-%s-%s\n' "$tag" "$1" "$mmcv_version" "$what" "$(uname -m)"
}
wheel_in() { find "$cache/wheels/$1" -maxdepth 1 -name 'mmcv_full-*.whl' 2>/dev/null | head -n 1; }

preflight() {
  [ "$(uname -s)" = Linux ] || problem "This script knows Linux only; this is $(uname -s).
Install by hand after requirements/pinned.txt (see its first lines)."
  python='' torch_version='' have_wheel=0 need_compiler=0
  [ ! -x "$py" ] || torch_version=$(installed torch)
  case $torch_version in
    "$(pinned torch)" | "$(pinned torch)"+*) ;;
    *) torch_version='' ;; # none, or one that is going to be replaced
  esac
  check_venv_place
  choose_ops
  choose_python
  if [ ${#problems[@]} -gt 0 ]; then
    check_compiler # so that all that is missing is told at once
  else
    local key
    key=$(mmcv_key "${torch_version:-$(pinned torch)}")
    [ -z "$(wheel_in "$key")" ] || have_wheel=1
    if [ "$have_wheel" = 0 ] && [ "$ops" != keep ] && [ "$(cat "$state/mmcv" 2>/dev/null)" != "$key" ]; then
      need_compiler=1
      check_compiler
      choose_python # again, now asking for the headers too
    fi
  fi
  check_disk
  refuse_if_problems
}
pinned() { sed -n "s/^$1==\([^ ;]*\).*/\1/p" requirements/pinned.txt | head -n 1; }

# ---------------------------------------------------------------- running a step

child=''
stop_child() { # an interrupted call takes its compilers with it
  [ -z "$child" ] || kill -TERM -- "-$child" 2>/dev/null || true
}
trap stop_child EXIT
interrupted() {
  say "Interrupted. Call it again to continue: bash tools/setup_env.sh"
  exit "$1"
}
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'exit 129' HUP

step_number=0
steps=6
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
    if [ $((SECONDS - t0)) -lt 5 ]; then sleep 0.2; else sleep 1; fi
    if [ $((SECONDS - t0)) -ge $beat ] && kill -0 "$child" 2>/dev/null; then
      beat=$((beat + 30))
      note=$(tail -c 200000 "$log" | grep -aoE '^\[[0-9]+/[0-9]+\]' | tail -n 1 | tr -d '[]' || true)
      say "      ... $(took $((SECONDS - t0)))${note:+, file ${note/\// of }}"
    fi
  done
  wait "$child" || rc=$?
  child=''
  if [ "$rc" != 0 ]; then
    {
      say "      failed after $(took $((SECONDS - t0))) (exit status $rc). The last lines of $log:"
      say ""
      tail -n 30 "$log"
      say ""
      say "setup_env.sh: step \"$title\" failed; all of its output is in $log"
      remedy
    } >&2
    exit 1
  fi
  say "      done in $(took $((SECONDS - t0)))"
}

remedy() { # the usual causes, told from the log
  local last
  last=$(tail -n 200 "$log")
  case $last in
    *'No space left on device'*) say "The disk is full: free some space and call it again." ;;
    *'Killed signal terminated program'* | *'out of memory'*)
      say "The compiler ran out of memory: MAX_JOBS=1 bash tools/setup_env.sh" ;;
    *'No matching distribution found'* | *'Connection'* | *'timed out'* | *'Temporary failure in name resolution'*)
      say "pip could not get a package: check the network, and pip's own settings (python -m pip config list)." ;;
    *) say "Calling it again continues where it stopped." ;;
  esac
}

pip() { "$py" -m pip --no-color "$@"; }

# ---------------------------------------------------------------- the steps

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
  pip install --progress-bar off -c requirements/constraints.txt -c requirements/pinned.txt \
    "torch==$(pinned torch)" "torchvision==$(pinned torchvision)" "numpy==$(pinned numpy)"
}

# --no-build-isolation: the few source packages build with the pinned setuptools, not with
# whatever is newest. opencv-python-headless is in this set: mmcv-full asks for opencv-python when
# it is built without one.
install_packages() {
  pip install --progress-bar off --no-build-isolation -c requirements/constraints.txt \
    -r requirements/pinned.txt -r requirements/dev.txt
}

check_torch_gpu() {
  "$py" - "$(nvcc_release "$nvcc")" "$archs" <<'PY'
import sys
import torch

nvcc, archs = sys.argv[1:]
print("torch", torch.__version__, "of CUDA", torch.version.cuda, "nvcc", nvcc, "compute capability", archs)
cpu_ops = "or go on without the GPU ops: FREEKD_CPU_OPS=1 bash tools/setup_env.sh"
if torch.version.cuda is None:
    sys.exit("torch is a CPU build: pip took it from an index of yours. Use one with CUDA, " + cpu_ops)
if torch.version.cuda.split(".")[0] != nvcc.split(".")[0]:
    sys.exit("torch is of CUDA %s, nvcc of %s: install that toolkit, %s" % (torch.version.cuda, nvcc, cpu_ops))
if not torch.cuda.is_available():
    sys.exit("torch cannot use the GPU. Most often the driver is older than CUDA %s needs: update it, %s"
             % (torch.version.cuda, cpu_ops))
PY
}

# Compiles in a folder of the cache that an interruption leaves in place, so that the next call
# goes on with the files that are missing; the finished wheel is moved into place in one go.
# Only the sdist named by its hash in requirements/mmcv.txt is ever built or installed.
build_mmcv() {
  local work=$cache/build/$key dest=$cache/wheels/$key jobs memory
  mkdir -p "$work" "$cache/wheels"
  if [ ! -f "$work/src/setup.py" ]; then
    rm -rf "$work/sdist" "$work/unpacked" "$work/src"
    pip download --no-cache-dir --no-deps --no-build-isolation --progress-bar off -d "$work/sdist" -r requirements/mmcv.txt
    mkdir "$work/unpacked"
    tar -xzf "$work/sdist/mmcv-full-$mmcv_version.tar.gz" -C "$work/unpacked" --strip-components=1
    mv "$work/unpacked" "$work/src"
  fi
  memory=$(awk '/^MemAvailable/ { print int($2 / 2097152) }' /proc/meminfo) # one job per 2 GiB
  jobs=$(nproc)
  [ "$jobs" -le "$memory" ] || jobs=$((memory > 0 ? memory : 1))
  export MMCV_WITH_OPS=1 MAX_JOBS=${MAX_JOBS:-$jobs} PATH="$venv/bin:$PATH"
  unset FORCE_MLU FORCE_NPU FORCE_MPS
  if [ "$ops" = cuda ]; then
    export FORCE_CUDA=1 CUDA_HOME=$cuda_home TORCH_CUDA_ARCH_LIST=$archs
    # headers that a small toolkit lacks come with torch's own CUDA packages
    local include
    for include in "$cuda_home/include" "$venv"/lib/python3*/site-packages/nvidia/cu*/include; do
      [ ! -d "$include" ] || CPATH=${CPATH:+$CPATH:}$include
    done
    export CPATH LIBRARY_PATH=$cuda_home/lib64:$cuda_home/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
  else
    export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES='' # or it compiles CUDA ops wherever torch sees a GPU
  fi
  rm -rf "$work/wheel" "$dest.new"
  (cd "$work/src" && "$py" setup.py bdist_wheel -d "$work/wheel")
  mkdir "$dest.new"
  mv "$work/wheel"/mmcv_full-*.whl "$dest.new/"
  rm -rf "$dest"
  mv -T "$dest.new" "$dest"
  rm -rf "$work"
}

install_mmcv() {
  mkdir -p "$cache/wheels"
  if [ -z "$(wheel_in "$key")" ]; then
    exec 8>"$cache/wheels/$key.lock" # two clones must not compile the same wheel at once
    lock 8 "another setup_env.sh is compiling mmcv-full"
    [ -n "$(wheel_in "$key")" ] || build_mmcv
    exec 8>&-
  fi
  pip install --no-index --no-deps --force-reinstall "$(wheel_in "$key")"
  printf '%s\n' "$key" >"$state/mmcv"
}

install_freekd() { pip install --no-deps --no-build-isolation -e "$root"; }

verify() {
  "$py" - "$ops" <<'PY'
import sys
import torch, torchvision, numpy
import mmcv, mmcv.ops
import mmdet, mmseg

boxes, scores = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4.1]]), torch.tensor([0.5, 0.9])
devices = ["cpu"] + (["cuda"] if sys.argv[1] == "cuda" else [])
for device in devices:
    kept = mmcv.ops.nms(boxes.to(device), scores.to(device), 0.5)[1].tolist()
    assert kept == [1], "mmcv.ops.nms on %s kept %s, not [1]" % (device, kept)
import freekd.compat

freekd.compat.apply()
import mmrazor, freekd

print("torch", torch.__version__, "torchvision", torchvision.__version__, "numpy", numpy.__version__)
print("mmcv", mmcv.__version__, "mmdet", mmdet.__version__, "mmseg", mmseg.__version__, "mmrazor", mmrazor.__version__)
print("mmcv.ops ran on", ", ".join(devices))
PY
}

lock() { # lock FD MESSAGE: waits for it, saying so
  command -v flock >/dev/null 2>&1 || return 0
  flock -n "$1" && return 0
  say "      $2; waiting for it"
  flock "$1"
}

main() {
  if up_to_date; then
    say "Environment is up to date: $venv"
    return
  fi
  preflight

  mkdir -p "$state"
  exec 9>"$state/lock"
  lock 9 "another setup_env.sh is at work on $venv"
  if up_to_date; then
    say "Environment is up to date: $venv"
    return
  fi
  rm -f "$state/stamp"
  (cd "$venv" && pwd -P) >"$state/place"
  : >"$log"
  say "Making the environment $venv with $("$python" -c 'import sys; print("Python", sys.version.split()[0])') ($python)"
  say "Output of all steps: $log"

  [ "$ops" != cuda ] || steps=7
  step "virtual environment and build tools" "a few seconds" make_venv
  step "torch $(pinned torch) and torchvision" "the largest download: 1 to 5 minutes" install_torch
  step "the other packages of requirements/" "about 1 minute" install_packages
  [ "$ops" != cuda ] || step "torch and the GPU agree" "seconds" check_torch_gpu

  torch_version=$(installed torch)
  key=$(mmcv_key "$torch_version")
  if [ "$ops" = keep ]; then key=$(cat "$state/mmcv"); fi
  if [ "$(cat "$state/mmcv" 2>/dev/null)" = "$key" ] && [ "$(installed mmcv-full)" = "$mmcv_version" ]; then
    step "mmcv-full $mmcv_version" "already there: $key" true
  elif [ -n "$(wheel_in "$key")" ]; then
    step "mmcv-full $mmcv_version" "compiled before: $cache/wheels/$key" install_mmcv
  else
    local minutes=12
    [ "$ops" != cuda ] || minutes=50
    minutes=$(((minutes + $(nproc) - 1) / $(nproc)))
    step "mmcv-full $mmcv_version: compiling its ops for $key" "about $minutes min on $(nproc) cores, once per machine" install_mmcv
  fi
  step "freekd itself, editable" "a few seconds" install_freekd
  step "everything imports and the ops run" "seconds" verify

  inputs_hash >"$state/stamp.new"
  mv "$state/stamp.new" "$state/stamp"
  say "Environment is ready after $(took $((SECONDS - started))): $venv"
}

main "$@"
