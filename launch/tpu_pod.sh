#!/usr/bin/env bash
# One phase on a Cloud TPU slice, until it is done; run it on a machine with gcloud:
#
#     launch/tpu_pod.sh NAME ZONE v5litepod-16 --config=configs/phase2.py:7b \
#         --config.data.dir=/shared/data/7b --config.data.build.limit=0 \
#         --config.run_dir=/shared/runs/7b/phase2
#
# It asks for the slice as a queued resource (spot), waits for it, puts this repository's HEAD on
# all hosts, runs there the command in NOTA_MOUNT (which must mount what all hosts share, as
# "gcsfuse --implicit-dirs BUCKET /shared"), and then nota_jax.main with everything behind the
# accelerator.  A preempted slice is deleted and asked for again; the run goes on from its newest
# checkpoint.  Ctrl-C or TERM saves and stops.  The slice stays (and costs) until
#
#     gcloud compute tpus queued-resources delete NAME --zone=ZONE --force
#
# NOTA_RUNTIME is the image of the hosts; NOTA_SPOT= (empty) asks for on-demand capacity.
set -u

if [ $# -lt 4 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here" || exit 2
if [ "$1" != --once ]; then
    exec launch/until_done.sh launch/tpu_pod.sh --once "$@"
fi
shift
name=$1 zone=$2 accelerator=$3
shift 3
spot=${NOTA_SPOT---spot}
if ! command -v gcloud >/dev/null; then
    echo "error: gcloud is not installed here (the Google Cloud SDK)" >&2
    exit 2
fi

hosts() { # COMMAND, on all of them; nobody sits at the keyboard
    gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1" </dev/null
}

# ---- the slice
while true; do
    state=$(gcloud compute tpus queued-resources describe "$name" --zone="$zone" \
        --format='value(state.state)' 2>/dev/null)
    case $state in
    ACTIVE) break ;;
    '')
        echo "tpu_pod: asking for $accelerator as $name" >&2
        gcloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" \
            --accelerator-type="$accelerator" \
            --runtime-version="${NOTA_RUNTIME:-v2-alpha-tpuv5-lite}" ${spot:+"$spot"} || exit 2
        ;;
    SUSPENDED | FAILED)
        echo "tpu_pod: $name is $state: deleting it and asking again" >&2
        gcloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet ||
            exit 1
        ;;
    *) echo "tpu_pod: $name is $state" >&2 ;;
    esac
    sleep "${NOTA_POLL:-30}" &
    wait $!
done

# ---- the code
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
git archive --format=tar.gz -o "$work/nota_jax.tar.gz" HEAD || exit 2
gcloud compute tpus tpu-vm scp "$work/nota_jax.tar.gz" "$name:" --zone="$zone" --worker=all ||
    exit 1
hosts "set -e; mkdir -p nota_jax; tar xzf nota_jax.tar.gz -C nota_jax; cd nota_jax
    [ -d .venv ] || python3 -m venv .venv
    .venv/bin/pip install --quiet -e . 'jax[tpu]'
    ${NOTA_MOUNT:-true}" || exit 1

# ---- the run
# What each host is, its metadata server says.
# shellcheck disable=SC2016
run='cd nota_jax
about() {
    curl -sf -H Metadata-Flavor:Google \
        "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
IFS=, read -r -a all <<<"$(about worker-network-endpoints)"
export JAX_PROCESS_ID=$(about agent-worker-number) JAX_NUM_PROCESSES=${#all[@]}
export JAX_COORDINATOR_ADDRESS=${all[0]##*:}:8476
.venv/bin/python -u -m nota_jax.main '$(printf ' %q' "$@")' &
echo $! >~/nota_jax.pid
wait $!
echo "host $JAX_PROCESS_ID ended with status $?"'
# shellcheck disable=SC2016,SC2317,SC2329  # expands on the hosts; called by the trap
stop() {
    echo "tpu_pod: stopping; everything is saved first" >&2
    hosts 'kill -TERM "$(cat ~/nota_jax.pid)"'
}
trap stop TERM INT
set -m # Ctrl-C is for us, not for the connection
hosts "bash -c $(printf %q "$run")" >"$work/out" 2>&1 &
remote=$!
tail -n +1 -f --pid=$remote "$work/out" &
wait $remote
while kill -0 $remote 2>/dev/null; do
    wait $remote
done
wait %tail 2>/dev/null

# gcloud keeps only that some host failed.
statuses=$(sed -n 's/.*host [0-9]* ended with status \([0-9]*\).*/\1/p' "$work/out" | sort -u |
    tr '\n' ' ')
case " $statuses" in
*' 2 '*) exit 2 ;;
*' 130 '*) exit 130 ;;
' 0 ') exit 0 ;;
*) exit 1 ;;
esac
