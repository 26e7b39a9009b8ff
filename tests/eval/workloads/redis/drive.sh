#!/bin/sh
# Reads and writes in turn, and the chores of an operator's scheduler.
load() {
    if [ "$LIGHT" ]; then set -- 20 "$2" -c 1; fi
    requests=$1 tests=$2
    shift 2
    redis-benchmark -h 127.0.0.1 -p 16379 -q -n "$requests" -t "$tests" "$@"
}
case $(($1 % 4)) in
0) load 2000 set,get ;;
1) load 1000 lpush,lrange_100 ;;
2) load 1000 incr,sadd,hset ;;
3) redis-cli -p 16379 bgrewriteaof ;;
esac
sleep 3
