#!/bin/sh
# Reads and writes in turn, and the chores of an operator's scheduler.
case $(($1 % 4)) in
0) redis-benchmark -h 127.0.0.1 -p 16379 -n 2000 -q -t set,get ;;
1) redis-benchmark -h 127.0.0.1 -p 16379 -n 1000 -q -t lpush,lrange_100 ;;
2) redis-benchmark -h 127.0.0.1 -p 16379 -n 1000 -q -t incr,sadd,hset ;;
3) redis-cli -p 16379 bgrewriteaof ;;
esac
sleep 3
