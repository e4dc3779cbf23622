#!/usr/bin/env bash
# The C++ compiler that tools/setup_env.sh hands to mmcv-full's setup.py as CXX. Most of the work in
# each of its 73 files is reading torch's headers: here they are read once (a precompiled header).
#   FREEKD_CXX   the compiler itself; may hold flags, or "ccache g++"
#   FREEKD_PCH   a folder with torch.hpp, the header to precompile; the result goes beside it
# Where a compiler cannot do that (clang, say) or it fails, the files are compiled the plain way.
# shellcheck disable=SC2086
set -u

pch=$FREEKD_PCH/torch.hpp
fast='' args=("$@") flags=()
while [ $# -gt 0 ]; do # flags: the call without what belongs to its one file
  case $1 in
    -c) fast=1 ;;
    -o | -MF) shift ;;
    -MMD | *.cpp) ;;
    *) flags+=("$1") ;;
  esac
  shift
done
[ -n "$fast" ] || exec $FREEKD_CXX "${args[@]}" # links, or is asked for its version

# Python's own flags have -g: a third of the time and most of the disk, and nobody debugs the ops.
# torch's headers would give one sign-compare warning in each file.
flags+=(-g0 -Wno-sign-compare)
args+=(-g0 -Wno-sign-compare)

# The first call makes the header with its own flags, as gcc passes over one that was made with
# others. The calls beside it do not wait for it. -H marks a precompiled header that is used by "!".
if mkdir "$FREEKD_PCH/begun" 2>/dev/null; then
  if $FREEKD_CXX "${flags[@]}" -x c++-header "$pch" -o "$pch.gch" &&
    $FREEKD_CXX "${flags[@]}" -include "$pch" -H -fsyntax-only -x c++ /dev/null 2>&1 | grep -q '^! .*\.gch$'; then
    touch "$pch.works"
  else
    rm -f "$pch.gch"
    echo "pch_cxx.sh: $FREEKD_CXX makes no use of precompiled headers, compiling without"
  fi
fi

if [ -f "$pch.works" ]; then
  $FREEKD_CXX "${args[@]}" -include "$pch" -Winvalid-pch && exit
  # gcc can fail to map the header to the address it needs: go on without it
fi
exec $FREEKD_CXX "${args[@]}"
