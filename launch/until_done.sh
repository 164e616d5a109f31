#!/usr/bin/env bash
# Runs a command again and again until it is done:
#
#     launch/until_done.sh COMMAND [ARGUMENT …]
#
# nota_jax.main ends with
#     0    done
#     2    a mistake that no second try mends
#     130  stopped on request, everything saved
# and these are the end here too.  Everything else (a killed process, 1 in those that it left
# behind, a machine that fell over) is tried again and goes on from the newest checkpoint; after
# NOTA_RESTARTS (5) tries in a row that each ended within NOTA_QUICK (600) seconds it gives up.
# TERM and INT are handed on once, and there is no further try.  USR1 says the same and is not
# handed on: the command hears of it in another way.
set -u
set -m # children in process groups of their own: Ctrl-C reaches them once, from here

if [ $# -eq 0 ]; then
    echo "usage: launch/until_done.sh COMMAND [ARGUMENT …]" >&2
    exit 2
fi
restarts=${NOTA_RESTARTS:-5} quick=${NOTA_QUICK:-600}
stopping='' child='' failures=0

stop() {
    stopping=yes
    [ -n "$child" ] && kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT
trap 'stopping=yes' USR1

while true; do
    began=$SECONDS
    "$@" &
    child=$!
    # A trapped signal ends `wait`, but not the child.
    wait "$child"
    status=$?
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        status=$?
    done
    child=''
    case $status in
    0 | 2 | 130) exit "$status" ;;
    esac
    if [ -n "$stopping" ]; then
        exit "$status"
    fi
    if [ $((SECONDS - began)) -lt "$quick" ]; then
        failures=$((failures + 1))
    else
        failures=0
    fi
    if [ "$failures" -gt "$restarts" ]; then
        echo "until_done: $failures tries in a row ended within $quick s, the last with status" \
            "$status: giving up" >&2
        exit "$status"
    fi
    echo "until_done: ended with status $status after $((SECONDS - began)) s; starting again" >&2
    sleep "${NOTA_PAUSE:-5}" &
    wait $!
    if [ -n "$stopping" ]; then
        exit 130
    fi
done
