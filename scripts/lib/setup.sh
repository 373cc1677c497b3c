# Shared by the scripts beside this directory; to be sourced by bash. Finds and installs what they need.
#
# Functions print what they do to standard error and leave standard output alone.

# Says what happens.
say() {
    printf '%s\n' "$*" >&2
}

# Ends the script: what is wrong, and what to do about it.
fail() {
    printf 'error: %s\n' "$1" >&2
    if [[ $# -gt 1 ]]; then
        printf 'help: %s\n' "$2" >&2
    fi
    exit 1
}

# Whether a program is on PATH.
have() {
    command -v "$1" >/dev/null 2>&1
}

# Whether `as_root` can work: we are root, or sudo lets us without a password, or somebody is there to type one.
can_be_root() {
    [[ $(id --user) -eq 0 ]] || { have sudo && { [[ -t 0 ]] || sudo --non-interactive true 2>/dev/null; }; }
}

# Runs a command as root.
as_root() {
    if [[ $(id --user) -eq 0 ]]; then
        "$@"
    else
        sudo -- "$@"
    fi
}

# Installs Debian packages, or says which ones are to be installed.
apt_install() {
    local remedy="as root: apt-get install --yes $*"
    if ! have apt-get; then
        fail "missing: $*" "this is no Debian or Ubuntu; install the equivalent packages and start again"
    fi
    can_be_root || fail "missing packages: $*" "$remedy"
    say "installing: $*"
    # The lists may be old or absent. An update that fails is no reason to stop: the packages may be there anyway.
    as_root apt-get update --quiet=2 >&2 || say "apt-get update failed; trying with the lists at hand"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "$@" >&2 ||
        fail "cannot install: $*" "$remedy"
}

# Makes sure of programs: each argument is PROGRAM:PACKAGE. What is missing is installed in one go.
need_packages() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%:*}" || missing+=("${pair#*:}")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        apt_install "${missing[@]}"
    fi
    for pair in "$@"; do
        have "${pair%%:*}" || fail "still no ${pair%%:*} on PATH" "install the package ${pair#*:}"
    done
}

# Makes sure of git, a C compiler with headers, and Python with its standard library.
need_base() {
    need_packages git:git cc:gcc python3:python3
    # On a bare system the compiler may be there without the C library's headers, and python3 without its library.
    echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1 || apt_install libc6-dev
    python3 -c 'import json, unittest' 2>/dev/null || apt_install python3
}

# Makes sure of cargo, also when its installer has not been followed by a new login.
need_cargo() {
    if ! have cargo && [[ -r "${CARGO_HOME:-$HOME/.cargo}/env" ]]; then
        # shellcheck disable=SC1091 # Written by the installer of Rust.
        source "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    have cargo || fail "no cargo on PATH" "install Rust 1.89 or later with rustup, open a new terminal and start again"
}

# Prints the directory that cargo builds into for the project in $1, whatever decides it: variable, setting or default.
target_directory() {
    (cd "$1" && cargo metadata --format-version 1 --no-deps --offline) |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# Puts the directory of the interpreter itself first on PATH. What is found there may be a shim that looks for its
# configuration in $HOME, and stops working as soon as $HOME is another one.
prefer_real_python() {
    PATH="$(python3 -c 'import os, sys; print(os.path.dirname(sys.executable))'):$PATH"
    export PATH
}
