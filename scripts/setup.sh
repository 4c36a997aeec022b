# The set-up that scripts/quickstart and scripts/test share; to be sourced by them. It runs on macOS's bash 3.2 and
# needs no GNU tools. All narration goes to stderr, because stdout belongs to the command that follows.
#
#   set_up      makes or repairs "$root/.venv" so that it holds what requirements.lock says, and this project
#
# The stamp .venv/.mlxllm-set-up begins as "unfinished" and ends as a fingerprint of all that the set-up depends on:
# equal fingerprint, nothing to do; "unfinished", an earlier set-up was interrupted and .venv is made anew.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/.mlxllm-set-up
lock=$root/.set-up.lock
unset PYTHONHOME

say() { printf 'mlxllm: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Runs, and is a Python that the locked wheels are made for. A name on PATH may be a shim that only prints an error,
# or an Intel build that runs translated on an Apple-silicon Mac, for which MLX has no wheels.
suits() {
    "$1" -c 'import platform, sys
ok = (3, 11) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == "cpython"
sys.exit(not (ok and (sys.platform != "darwin" or platform.machine() == "arm64")))' >/dev/null 2>&1 </dev/null
}

can_make_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null; }

have_uv() { uv --version >/dev/null 2>&1 </dev/null; }

# What .venv depends on.
fingerprint() {
    printf '%s\n' "$root"
    cat "$root/requirements.lock" "$root/pyproject.toml" | cksum
}

# The option that keeps an installer quiet when nobody watches.
quietly() {
    # pip writes hundreds of lines, uv shows one that moves.
    if ! [ -t 2 ] || ! have_uv; then printf '%s' --quiet; fi
}

refuse_unsupported_machine() {
    local version
    case $(uname -s) in
    Darwin)
        [ "$(sysctl -n hw.optional.arm64 2>/dev/null)" = 1 ] ||
            fail "this Mac has an Intel processor; MLX needs Apple silicon (M1 or later)"
        version=$(sw_vers -productVersion)
        [ "${version%%.*}" -ge 14 ] || fail "this is macOS $version; MLX needs macOS 14 or later, please update it"
        ;;
    Linux)
        [ "$(uname -m)" = x86_64 ] ||
            fail "this is Linux on $(uname -m); on Linux the libraries come for x86_64 only"
        version=$(getconf GNU_LIBC_VERSION 2>/dev/null) || fail "this Linux has no glibc; MLX needs glibc 2.35 or later"
        [ "${version##*.}" -ge 35 ] ||
            fail "this Linux has $version; MLX needs glibc 2.35 or later (Debian 12, Ubuntu 22.04)"
        ;;
    *) fail "this is $(uname -s); mlxllm runs on macOS with Apple silicon and on Linux" ;;
    esac
}

# $MLXLLM_PYTHON alone if it is set; else every executable of each name, in the order of PATH, because a broken shim
# may hide a Python that works.
find_python() {
    local name candidate
    if [ -n "${MLXLLM_PYTHON:-}" ]; then
        type -P "$MLXLLM_PYTHON" || true
    else
        for name in python3.11 python3.12 python3.13 python3 python; do
            type -aP "$name" || true
        done
    fi | while IFS= read -r candidate; do
        if suits "$candidate" && { have_uv || can_make_venv "$candidate"; }; then
            "$candidate" -c 'import sys; print(sys.executable)' </dev/null
            break
        fi
    done || true # the names after the one that was taken find the pipe closed
}

make_venv() {
    local found
    found=$(find_python)
    [ -n "$found" ] || [ -z "${MLXLLM_PYTHON:-}" ] ||
        fail "MLXLLM_PYTHON is '$MLXLLM_PYTHON', which is no usable Python 3.11, 3.12 or 3.13; unset it or name another"
    rm -rf "$venv"
    if have_uv; then
        # Without a Python of its own that suits, uv fetches one.
        say "making .venv with uv"
        uv venv --quiet --no-project --python "${found:->=3.11,<3.14}" "$venv" >&2 ||
            fail "uv could not make .venv; the lines above say why"
    elif [ -n "$found" ]; then
        say "making .venv with $found"
        # pip comes in a second step, so that the stamp is there before anything that takes time.
        "$found" -m venv --without-pip "$venv" >&2 || fail "$found could not make .venv; the lines above say why"
    else
        fail "no usable Python 3.11, 3.12 or 3.13 here; install one from python.org (on Debian and Ubuntu: apt install" \
            "python3 python3-venv), or install uv from docs.astral.sh/uv, and run this again"
    fi
}

# Wheels only: building from source would need a compiler and unlocked tools.
install_locked() {
    # shellcheck disable=SC2046
    if have_uv && (cd "$root" && uv pip install $(quietly) --python "$python" --require-hashes \
        --only-binary :all: -r requirements.lock) >&2; then
        :
    else
        # Also where uv fails: pip has settings of its own, such as a proxy's certificate.
        have_uv && say "uv could not install the packages; trying with pip"
        "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip --default-pip >/dev/null || return 1
        (cd "$root" && "$python" -m pip install $(quietly) --disable-pip-version-check --require-hashes \
            --only-binary :all: -r requirements.lock) >&2 || return 1
    fi
    # The build backend is in the lock, so nothing else is fetched.
    (cd "$root" && "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --no-index --editable .) >&2
}

take_lock() {
    local owner said=
    until mkdir "$lock" 2>/dev/null; do
        [ -w "$root" ] || fail "cannot write in $root; make the folder writable for you and run this again"
        owner=$(cat "$lock/pid" 2>/dev/null || true)
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            rm -rf "$lock" # its owner is gone
            continue
        fi
        [ -n "$said" ] || say "waiting for another set-up in this folder (process ${owner:-unknown}); if there is" \
            "none, delete $lock"
        said=1
        sleep 1
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'rm -rf "$lock"; exit 130' INT
    trap 'rm -rf "$lock"; exit 143' TERM HUP
}

drop_lock() {
    rm -rf "$lock"
    trap - EXIT INT TERM HUP
}

up_to_date() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] && suits "$python"; }

set_up() {
    up_to_date && return
    refuse_unsupported_machine
    take_lock
    if up_to_date; then # whoever had the lock did the work
        drop_lock
        return
    fi
    if ! suits "$python" || [ "$(cat "$stamp" 2>/dev/null)" = unfinished ] || moved; then
        make_venv
    fi
    echo unfinished >"$stamp"
    say "installing the locked packages into .venv (the first time this takes a minute or two)"
    install_locked || fail "the set-up did not finish, and the lines above say why; check the network and the disk" \
        "(2 GB are enough) and run the same command again"
    fingerprint >"$stamp"
    drop_lock
}

# The commands in .venv/bin name their interpreter by its full path.
moved() { [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$root" ]; }
