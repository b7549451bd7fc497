#!/usr/bin/env bash
# dagster dev, started in the background by a script, ignores SIGTERM.
#
# dagster 1.13.27 with dagster-webserver 1.13.27, Linux. A shell without job control starts `command &` with SIGINT ignored (POSIX), Python leaves
# it so, and Dagster's setup_interrupt_handlers() gives SIGTERM whatever handler SIGINT has: none. `kill PID` then does nothing, for dagster dev, its
# webserver, daemon and code servers alike; a supervisor has to use SIGKILL, which leaves the children. Under job control (`set -m`) SIGTERM ends it.
# Exits 1 when the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dagster==1.13.27 dagster-webserver==1.13.27
mkdir "$folder/home"
printf 'telemetry:\n  enabled: false\n' > "$folder/home/dagster.yaml"
printf 'import dagster as dg\n\ndefs = dg.Definitions()\n' > "$folder/nothing.py"
export DAGSTER_HOME="$folder/home"
"$folder/venv/bin/python" -c 'import dagster; print("dagster", dagster.__version__)'

: > "$folder/without.log"
: > "$folder/with.log"

ended() {  # SIGTERM once it serves: does it end within 30 seconds?
    for _ in $(seq 120); do
        grep -q "Serving dagster-webserver" "$2" && break
        kill -0 "$1" 2> /dev/null || { cat "$2" >&2; echo "it did not start" ; return; }
        sleep 0.5
    done
    kill -TERM "$1"
    for _ in $(seq 60); do
        kill -0 "$1" 2> /dev/null || { echo yes; return; }
        sleep 0.5
    done
    echo no
    # by their ids: nothing of it may be left
    kill -KILL "$1" $(ps -o pid= --ppid "$1") 2> /dev/null || true
}

port() { "$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

"$folder/venv/bin/dagster" dev -f "$folder/nothing.py" -p "$(port)" > "$folder/without.log" 2>&1 &
without=$(ended $! "$folder/without.log")
set -m
"$folder/venv/bin/dagster" dev -f "$folder/nothing.py" -p "$(port)" > "$folder/with.log" 2>&1 &
with=$(ended $! "$folder/with.log")
echo "ended by SIGTERM: started without job control $without, with it $with"
[ "$without" = no ] && [ "$with" = yes ]
