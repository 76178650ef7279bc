# Other scripts source this file. It sets up .venv and .venvs with uv from the locks, if a lock has changed. It needs
# Python 3.11 or newer. If uv is missing, it is installed into .uv, and the system's Python is not changed.

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "everthread: $*"
    exit 1
}

# lacks TEXT: reports that this machine lacks something, so tests are skipped. On CI, that is a failure.
lacks() {
    [ -z "${CI:-}" ] || fail "$1"
    say "$1: the tests that need it are skipped"
}

# apt_get COMMAND…: runs apt-get quietly, and one at a time, since several steps of the set-up may use it.
apt_get() {
    env DEBIAN_FRONTEND=noninteractive flock "$ROOT/.venv/.apt-lock" \
        timeout 600 apt-get -q -y -o Acquire::Retries=0 -o Acquire::http::Timeout=10 "$@"
}

# apt_install PACKAGE…: installs Debian's packages if this is root on Debian. Fails otherwise.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "Installing $* …"
    apt_get install --no-install-recommends "$@" >/dev/null 2>&1 ||
        { apt_get update >/dev/null 2>&1 && apt_get install --no-install-recommends "$@" >&2; }
}

find_python() {
    for candidate in "${EVERTHREAD_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            PYTHON=$("$candidate" -c 'import sys; print(sys.executable)')
            return
        fi
    done
    fail "Python 3.11 or newer is needed; EVERTHREAD_PYTHON may name one"
}

# uv does not read pip's settings, so a mirror or certificate of pip is passed on to uv.
adopt_pip_settings() {
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        mirror=${PIP_INDEX_URL:-$("$PYTHON" -m pip config get global.index-url 2>/dev/null || true)}
        if [ -n "$mirror" ]; then
            export UV_DEFAULT_INDEX="$mirror"
        fi
    fi
    if [ -z "${SSL_CERT_FILE:-}" ] && [ -n "${PIP_CERT:-}" ]; then
        export SSL_CERT_FILE="$PIP_CERT"
    fi
}

find_uv() {
    UV=
    for candidate in "$(command -v uv || true)" "$ROOT/.uv/bin/uv" "$ROOT/.uv/lib/bin/uv"; do
        if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
            UV=$candidate
            return
        fi
    done
    say "Installing uv …"
    rm -rf "$ROOT/.uv"
    # pip refuses to change a system's Python (PEP 668), so uv goes into a venv or a folder of its own.
    if "$PYTHON" -m venv "$ROOT/.uv" >/dev/null 2>&1; then
        "$ROOT/.uv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes \
            -r "$ROOT/requirements-uv.lock" >&2 || fail "pip could not install uv (see above)"
        UV=$ROOT/.uv/bin/uv
        return
    fi
    rm -rf "$ROOT/.uv"
    "$PYTHON" -m pip --version >/dev/null 2>&1 ||
        fail "neither uv nor pip nor venv is here: install one of them (on Debian: apt-get install python3-venv)"
    "$PYTHON" -m pip install -q --disable-pip-version-check --require-hashes --target "$ROOT/.uv/lib" \
        -r "$ROOT/requirements-uv.lock" >&2 || fail "pip could not install uv (see above)"
    UV=$ROOT/.uv/lib/bin/uv
}

prepare_uv() {
    [ -n "${UV:-}" ] && return
    find_python
    adopt_pip_settings
    find_uv
    export UV_NO_PROGRESS="${UV_NO_PROGRESS:-}" UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}"
    [ -n "$UV_NO_PROGRESS" ] || unset UV_NO_PROGRESS
}

# state_of LOCK: a checksum of everything that an environment depends on: the lock, the folder, pyproject.toml.
state_of() { { printf '%s\n' "$ROOT"; cat "$ROOT/pyproject.toml" "$1"; } | cksum; }

# make_venv FOLDER: makes the virtual environment, unless it exists and works.
make_venv() {
    if "$1/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        return
    fi
    rm -rf "$1" # it is broken: its Python is missing, or it was moved; an older uv has no --clear
    "$UV" venv --quiet --python "$PYTHON" "$1" >&2 || fail "cannot make $1"
}

# sync_venv FOLDER LOCK: installs the lock's packages. Returns 1 if nothing has changed.
sync_venv() {
    stamp=$1/.stamp-$(basename "$2" .lock)
    state=$(state_of "$2")
    if [ -x "$1/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
        return 1
    fi
    prepare_uv
    say "Installing $(basename "$2") into ${1#"$ROOT"/} …"
    make_venv "$1"
    # With bytecode, or each start would compile a thousand modules if PYTHONDONTWRITEBYTECODE is set.
    "$UV" pip install --python "$1/bin/python" --compile-bytecode --no-deps --require-hashes -r "$2" >&2 ||
        fail "the packages could not be installed (see above)"
    printf '%s\n' "$state" >"$stamp.new"
}

# setup_project LOCK: sets up .venv with the lock's packages and this project itself.
setup_project() {
    if sync_venv "$ROOT/.venv" "$1"; then
        "$UV" pip install --quiet --python "$ROOT/.venv/bin/python" --offline --no-deps --no-build-isolation \
            -e "$ROOT" >&2 || fail "Everthread itself could not be installed (see above)"
        # A tree that cannot be written to is served all the same.
        (cd "$ROOT" && .venv/bin/python -m compileall -q events projections service sql) >&2 || true
        mv "$stamp.new" "$stamp"
    fi
}

# setup_multilingual: adds the weights of the multilingual embedding model to .venv.
setup_multilingual() {
    if sync_venv "$ROOT/.venv" "$ROOT/requirements-multilingual.lock"; then
        mv "$stamp.new" "$stamp"
    fi
}

# setup_sdk NAME: sets up .venvs/NAME with that release of a client, such as openai-1.20.0.
setup_sdk() {
    mkdir -p "$ROOT/.venvs"
    if sync_venv "$ROOT/.venvs/$1" "$ROOT/tests/sdks/$1.lock"; then
        mv "$stamp.new" "$stamp"
    fi
}

# setup_tlog: puts aics-tlog into .venvs/aics-tlog, without its dependencies, which the tests' own Python has.
setup_tlog() {
    folder=$ROOT/.venvs/aics-tlog locked=$ROOT/tests/audit/aics-tlog.lock
    state=$(cksum <"$locked")
    [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$state" ] && return
    prepare_uv
    say "Installing aics-tlog.lock into .venvs/aics-tlog …"
    rm -rf "$folder"
    # Its metadata asks for Python 3.12, and 3.11 runs it too.
    "$UV" pip install --quiet --python "$ROOT/.venv/bin/python" --python-version 3.12 --target "$folder" --no-deps \
        --require-hashes -r "$locked" >&2 || fail "aics-tlog could not be installed (see above)"
    printf '%s\n' "$state" >"$folder/.stamp"
}

# setup_npm_sdk VERSION: sets up .venvs/npm-VERSION with that release of the official client for JavaScript.
setup_npm_sdk() {
    folder=$ROOT/.venvs/npm-$1 locked=$ROOT/tests/sdks/npm-$1
    state=$(cat "$locked/package.json" "$locked/package-lock.json" | cksum)
    [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$state" ] && return
    say "Installing openai $1 of npm into ${folder#"$ROOT"/} …"
    mkdir -p "$folder"
    cp "$locked/package.json" "$locked/package-lock.json" "$folder"
    (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error) >&2 || fail "npm could not install openai $1 (see above)"
    printf '%s\n' "$state" >"$folder/.stamp"
}

# setup_sdks: every release of the official clients that the tests run.
setup_sdks() {
    setup_python_sdks
    setup_npm_sdks
}

setup_python_sdks() {
    for name in openai-1.20.0 openai-1.65.5 openai-3.54.0 azure-ai-agents-1.1.0; do setup_sdk "$name"; done
}

setup_npm_sdks() {
    command -v npm >/dev/null 2>&1 || apt_install nodejs npm || { lacks "There is no npm here"; return 0; }
    for version in 4.36.0 7.57.0; do setup_npm_sdk "$version"; done
}

# code_interpreter and the parsers of documents run in bubblewrap, with a Python that any user can read. If either is not
# available, the server runs without a sandbox and reports it.

# look_at_sandbox: installs bubblewrap if possible, and sets $folder (of the sandbox's Python, empty if it could not be
# made), $state (the state that it should have) and $known (the state that was set up last).
look_at_sandbox() {
    stamp=$ROOT/.venv/.stamp-sandbox
    state=$(state_of "$ROOT/service/sandbox/packages.lock")
    folder=$(sed -n 2p "$stamp" 2>/dev/null || true)
    known=$(sed -n 1p "$stamp" 2>/dev/null || true)
    if [ "$known" != "$state" ]; then
        command -v bwrap >/dev/null 2>&1 || apt_install bubblewrap || true
    fi
    command -v bwrap >/dev/null 2>&1 ||
        say "code_interpreter is off: bubblewrap is missing (on Debian and Ubuntu: sudo apt-get install bubblewrap)"
}

# setup_sandbox: makes the sandbox's Python with the small set of packages, which tests use, and waits for it. A failure
# is tried again if the lock changes, and on CI.
setup_sandbox() {
    look_at_sandbox
    if [ "$known" != "$state" ] || { [ -n "$folder${CI:-}" ] && [ ! -e "$folder/complete" ]; }; then
        prepare_uv
        say "Making the Python of the sandbox (once a version; half a minute, 0.8 GB) …"
        folder=$(cd / && UV=$UV "$ROOT/.venv/bin/python" -m service.sandbox.install small) || folder=
        printf '%s\n%s\n' "$state" "$folder" >"$stamp"
    fi
    { [ -n "$folder" ] && command -v bwrap >/dev/null 2>&1; } || lacks "There is no sandbox here"
}

# where_sandbox SET [REQUIREMENTS]: prints the folder of the sandbox's Python with these packages.
where_sandbox() { "$ROOT/.venv/bin/python" -m service.sandbox.install --where "$@"; }

# let_server_setup_sandbox: lets the server make the sandbox's Python while it serves.
let_server_setup_sandbox() {
    look_at_sandbox
    if [ "$known" != "$state" ]; then
        folder=$(where_sandbox small)
        printf '%s\n%s\n' "$state" "$folder" >"$stamp"
    fi
    folder=$(where_sandbox "${EVERTHREAD_CODE_PACKAGES:-full}" "${EVERTHREAD_CODE_REQUIREMENTS:-}") || folder=
    if [ ! -e "$folder/complete" ]; then
        prepare_uv
        EVERTHREAD_SANDBOX_INSTALL=${EVERTHREAD_SANDBOX_INSTALL:-true}
        export UV EVERTHREAD_SANDBOX_INSTALL
    fi
}

# setup_browser: installs Chromium for the tests in a real browser.
setup_browser() {
    command -v chromium >/dev/null 2>&1 || apt_install chromium || lacks "There is no chromium here"
}
