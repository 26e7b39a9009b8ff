#!/bin/sh
# A cache that keeps its data. Whoever reaches it may set where: the hole that one of the attacks goes through.
mkdir -p /data
cd /data || exit 1
exec redis-server --port 16379 --bind 127.0.0.1 --dir /data --appendonly yes --save 15 10 \
    --enable-protected-configs yes --logfile /data/redis.log
