# Sourced by setup_env.sh: which ops of mmcv-full to have (CPU, or CUDA for this machine's GPU), under
# what name their wheel is kept, whether this machine can compile them, and compiling them.
# shellcheck shell=bash disable=SC2154  # its variables and small functions are those of setup_env.sh

nvcc_release() { "$1" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p' || true; }

find_nvcc() { # the nvcc of the wanted CUDA major version if there is one, else any; CUDA_HOME decides
  local exe other='' candidates=("${CUDA_HOME:-}/bin/nvcc")
  [ -n "${CUDA_HOME:-}" ] ||
    candidates=("$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc "/usr/local/cuda-$1"*/bin/nvcc)
  for exe in "${candidates[@]}"; do
    [ -x "$exe" ] || continue
    case $(nvcc_release "$exe") in "$1".*) say "$exe" && return ;; esac
    other=${other:-$exe}
  done
  say "$other"
}

# Sets ops to "cpu", to "keep", or to "cuda" with nvcc, cuda_home and archs.
choose_ops() {
  ops=cpu nvcc='' cuda_home='' archs=''
  [ "${FREEKD_CPU_OPS:-0}" != 1 ] || return 0
  if [[ $(timeout 60 nvidia-smi -L 2>/dev/null) != 'GPU '* ]]; then
    # No GPU here, now. Ops that were built for one (a cluster's login node, say) also run on the CPU.
    case $(noted mmcv) in
      *-torch"$(pinned torch)"*-mmcv"$mmcv_version"-cuda*)
        [ "$(installed mmcv-full)" != "$mmcv_version" ] || ops=keep ;;
    esac
    return 0
  fi
  ops=cuda
  local cuda=${FREEKD_TORCH_CUDA:-13.0} release fault=''
  nvcc=$(find_nvcc "${cuda%%.*}")
  release=$(nvcc_release "$nvcc")
  if [ -z "$nvcc" ]; then
    fault="There is an NVIDIA GPU, but no nvcc to compile the CUDA ops of mmcv-full."
  elif [ "${release%%.*}" != "${cuda%%.*}" ]; then
    fault="$nvcc is of CUDA $release, torch will be of CUDA $cuda: extensions need the same major version."
  fi
  if [ -n "$fault" ]; then
    problem "$fault
Install the CUDA toolkit $cuda (the version torch was built with), set CUDA_HOME if it is in an unusual place;
or go on with the CPU ops of mmcv-full: FREEKD_CPU_OPS=1 bash tools/setup_env.sh"
    return 0
  fi
  # nvcc may be a wrapper elsewhere; it tells itself where its toolkit lies.
  cuda_home=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p' | head -n 1)
  cuda_home=$(cd "${cuda_home:-$(dirname "$(readlink -f "$nvcc")")/..}" && pwd -P)
  archs=${TORCH_CUDA_ARCH_LIST:-}
  [ -z "$archs" ] || return 0
  archs=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -u | paste -sd';' - || true)
  [[ $archs =~ ^[0-9]+\.[0-9]+(\;[0-9]+\.[0-9]+)*$ ]] ||
    problem "Cannot tell the GPU's compute capability (nvidia-smi --query-gpu=compute_cap).
Name it: TORCH_CUDA_ARCH_LIST=9.0 bash tools/setup_env.sh"
}

# Sets key, the name under which the wheel of mmcv-full is kept: all that its binary depends on.
set_key() { # set_key PYTHON TORCH_VERSION
  local what=cpu
  [ "$ops" != cuda ] || what="cuda$(nvcc_release "$nvcc")-sm$(printf '%s' "$archs" | tr -c 'A-Za-z0-9.+' '+')"
  key=$("$1" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')-torch$2-mmcv$mmcv_version-$what-$(uname -m)
  [ "$ops" != keep ] || key=$(noted mmcv)
}
kept_wheel() { find "$cache/wheels/$key" -maxdepth 1 -name 'mmcv_full-*.whl' 2>/dev/null | head -n 1; }
have_mmcv() { [ "$(noted mmcv)" = "$key" ] && [ "$(installed mmcv-full)" = "$mmcv_version" ]; }
must_compile() { ! have_mmcv && [ -z "$(kept_wheel)" ]; }

check_compiler() {
  local cxx=${CXX:-c++} out
  local remedy="(Debian, Ubuntu: apt-get install build-essential), or name one with CXX and CC."
  local program='#include <optional>
#include <vector>
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 9
#error torch needs g++ 9 or newer
#endif
std::optional<std::vector<int>> f() { return std::nullopt; }'
  # shellcheck disable=SC2086  # CXX may hold flags, or "ccache g++"
  if ! command -v "${cxx%% *}" >/dev/null; then
    problem "No C++ compiler ($cxx), which compiling mmcv-full needs.
Install one $remedy"
  elif ! out=$($cxx -std=c++17 -x c++ -c -o /dev/null - 2>&1 <<<"$program"); then
    problem "The C++ compiler $cxx cannot compile a small C++17 program:
$(tail -n 4 <<<"$out")
Install a newer one $remedy"
  fi
}

# Compiles in a folder of the cache that an interruption leaves in place, so that the next call
# goes on with the files that are missing; the finished wheel is moved into place in one go.
# Only the sdist named by its hash in requirements/mmcv.txt is ever built or installed.
build_mmcv() {
  local work=$cache/build/$key dest=$cache/wheels/$key jobs memory include
  if [ ! -f "$work/src/setup.py" ]; then
    rm -rf "$work"
    mkdir -p "$work/unpacked"
    pip download --no-cache-dir --no-deps --no-build-isolation --progress-bar off -d "$work/sdist" \
      -r requirements/mmcv.txt
    tar -xzf "$work/sdist/mmcv-full-$mmcv_version.tar.gz" -C "$work/unpacked" --strip-components=1
    mv "$work/unpacked" "$work/src"
  fi
  memory=$(awk '/^MemAvailable/ { print int($2 / 2097152) }' /proc/meminfo) # one job per 2 GiB
  jobs=$(nproc)
  [ "$jobs" -le "$memory" ] || jobs=$((memory > 0 ? memory : 1))
  export PATH="$root/tools:$venv/bin:$PATH" MMCV_WITH_OPS=1 MAX_JOBS=${MAX_JOBS:-$jobs}
  export FREEKD_CXX=${CXX:-c++} FREEKD_PCH=$work/pch
  # By name on the PATH: ninja and setuptools would take a path with a space for two words. With CUDA,
  # torch goes by the compiler's name to tell which versions will do, and takes all but clang for gcc.
  if [ "$ops" = cpu ] || $FREEKD_CXX -v 2>&1 | grep -q '^gcc version'; then export CXX=pch_cxx.sh; fi
  unset FORCE_MLU FORCE_NPU FORCE_MPS
  if [ "$ops" = cuda ]; then
    export FORCE_CUDA=1 CUDA_HOME=$cuda_home TORCH_CUDA_ARCH_LIST=$archs
    # headers that a small toolkit lacks come with torch's own CUDA packages
    for include in "$cuda_home/include" "$venv"/lib/python3*/site-packages/nvidia/cu*/include; do
      [ ! -d "$include" ] || CPATH=${CPATH:+$CPATH:}$include
    done
    export CPATH LIBRARY_PATH=$cuda_home/lib64:$cuda_home/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
  else
    export FORCE_CUDA=0 CUDA_VISIBLE_DEVICES='' # or it compiles CUDA ops wherever torch sees a GPU
  fi
  # 410 MiB: goes when this subshell ends in any way but kill -9, after which the next call deletes it
  trap 'rm -rf "$FREEKD_PCH"' EXIT
  rm -rf "$work/wheel" "$dest.new" "$FREEKD_PCH"
  mkdir "$FREEKD_PCH"
  # What all of the files include. Not torch/extension.h, which one includes: they would take 4 times as long.
  say '#include <torch/types.h>' >"$FREEKD_PCH/torch.hpp"
  (cd "$work/src" && "$py" setup.py bdist_wheel -d "$work/wheel")
  mkdir "$dest.new"
  mv "$work/wheel"/mmcv_full-*.whl "$dest.new/"
  rm -rf "$dest"
  mv -T "$dest.new" "$dest"
  rm -rf "$work"
}

install_mmcv() {
  mkdir -p "$cache/wheels"
  if [ -z "$(kept_wheel)" ]; then
    exec 8>"$cache/wheels/$key.lock" # two clones must not compile the same wheel at once
    lock 8 "another setup_env.sh is compiling mmcv-full"
    [ -n "$(kept_wheel)" ] || build_mmcv
    exec 8>&-
  fi
  pip install --no-index --no-deps --force-reinstall "$(kept_wheel)"
  say "$key" >"$state/mmcv"
}
