#!/usr/bin/env bash
# Installs what the tests of the report page need beside the environment of tools/setup_env.sh:
# Debian's chromium and chromium-driver (as root, or with sudo that asks for no password), and the
# packages of requirements/browser.txt into a folder of their own. What is there is left as it is.
#   bash tools/setup_browser.sh
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${FREEKD_VENV:-$root/.venv}
python=$venv/bin/python folder=$venv/browser pins=$root/requirements/browser.txt

die() {
  printf 'setup_browser.sh: %s\n' "$*" >&2
  exit 1
}
[ -x "$python" ] || die "there is no environment in $venv yet. Run first: bash tools/setup_env.sh"

there() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }

install_chromium() {
  local as=()
  command -v apt-get >/dev/null ||
    die "chromium and chromedriver are not on the PATH, and there is no apt-get: install both by your system's means"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
      die "installing needs root. Run: sudo apt-get install -y chromium chromium-driver"
    as=(sudo -n)
  fi
  echo "Installing chromium and chromium-driver (apt-get; about 2 minutes)"
  local log
  log=$(mktemp)
  {
    "${as[@]}" apt-get update
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      chromium chromium-driver fonts-dejavu-core
  } >"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    die "apt-get failed (see above). Check the network and the package lists, then run it again"
  }
  rm -f "$log"
}

install_packages() {
  echo "Installing selenium and axe-core into $folder"
  rm -rf "$folder"
  local said
  said=$("$python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
    --target "$folder" -r "$pins" 2>&1 </dev/null) || {
    printf '%s\n' "$said" >&2
    die "pip failed (see above). Check the network, then run it again"
  }
  cp "$pins" "$folder/installed.txt" # last: a half-made folder has none
}

there || install_chromium
there || die "chromium and chromedriver are still not on the PATH after installing them"
cmp -s "$pins" "$folder/installed.txt" || install_packages
echo "Browser is ready: $(chromium --version 2>/dev/null | head -n 1)"
