#!/usr/bin/env bash
# Trains on this machine until the run is done, whatever happens to its processes:
#
#     launch/local.sh --config=configs/phase2.py            one process for all devices
#     launch/local.sh -n 2 --config=configs/phase2.py       several; on CPU only for trying it out
#
# Everything behind -n goes to nota_jax.main.  Ctrl-C or TERM saves and stops; the same command
# continues.  With several processes on GPUs, each gets its share of CUDA_VISIBLE_DEVICES.
set -u

here=$(cd "$(dirname "$0")/.." && pwd)
python=${NOTA_PYTHON:-$here/.venv/bin/python}
once=''
if [ "${1:-}" = --once ]; then
    once=yes
    shift
fi
count=1
if [ "${1:-}" = -n ]; then
    count=${2:-}
    shift 2 || shift
fi
case $count in
'' | *[!0-9]* | 0)
    echo "error: -n wants the number of processes, not '$count'" >&2
    exit 2
    ;;
esac
if [ $# -eq 0 ]; then
    echo "usage: launch/local.sh [-n PROCESSES] --config=configs/phase2.py [FLAG …]" >&2
    exit 2
fi
cd "$here" || exit 2
if [ "$count" -eq 1 ]; then
    exec launch/until_done.sh "$python" -m nota_jax.main "$@"
fi
if [ -z "$once" ]; then
    exec launch/until_done.sh launch/local.sh --once -n "$count" "$@"
fi

set -m
devices=()
if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
    IFS=, read -r -a devices <<<"$CUDA_VISIBLE_DEVICES"
    if [ $((${#devices[@]} % count)) -ne 0 ]; then
        echo "error: ${#devices[@]} GPUs cannot be shared evenly by $count processes" >&2
        exit 2
    fi
fi
share=$((${#devices[@]} / count))
# Below the range that connections come from, and another one for every call.
port=$((20000 + 2 * ($$ % 6000)))
export JAX_NUM_PROCESSES=$count JAX_COORDINATOR_ADDRESS=127.0.0.1:$port
children=() killer=''
trap 'kill -TERM "${children[@]}" 2>/dev/null' TERM INT
for ((i = 0; i < count; i++)); do
    export JAX_PROCESS_ID=$i
    if [ "$share" -gt 0 ]; then
        CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${devices[*]:i*share:share}")
        export CUDA_VISIBLE_DEVICES
    fi
    "$python" -m nota_jax.main "$@" &
    children+=($!)
done

# Where one fails, so do all: what it leaves behind may wait for it for long.  The run's status is a
# mistake where one says so, else a stop, else that of the first that failed.
result=0 grace=${NOTA_GRACE:-10}
while [ ${#children[@]} -gt 0 ]; do
    ended=''
    wait -n -p ended "${children[@]}"
    status=$?
    [ -n "${ended:-}" ] || continue # a signal, which the children have too
    left=()
    for child in "${children[@]}"; do
        [ "$child" = "$ended" ] || left+=("$child")
    done
    children=(${left[@]+"${left[@]}"})
    if [ "$status" -ne 0 ] && [ "$status" -ne 130 ] && [ ${#left[@]} -gt 0 ] && [ -z "$killer" ]; then
        { sleep "$grace" && kill -KILL -- "${left[@]}"; } 2>/dev/null &
        killer=$!
    fi
    case $status in
    0) ;;
    2) result=2 ;;
    130) [ "$result" -ne 2 ] && result=130 ;;
    *) [ "$result" -eq 0 ] && result=$status ;;
    esac
done
[ -z "$killer" ] || kill -- "-$killer" 2>/dev/null
exit "$result"
