#!/bin/sh
# A database on a volume, with a password that everybody knows: the hole that some of the attacks go through.
mkdir -p -m 1777 /dev/shm
bin=$(echo /usr/lib/postgresql/*/bin)
chown postgres /pgdata
as="setpriv --reuid=postgres --regid=postgres --init-groups"
[ -f /pgdata/PG_VERSION ] || $as "$bin/initdb" -D /pgdata -A trust -N
rm -f /pgdata/postmaster.pid
exec $as "$bin/postgres" -D /pgdata -p 15432 -k /tmp -c listen_addresses=127.0.0.1 -c checkpoint_timeout=30s \
    -c autovacuum_naptime=15s -c logging_collector=on -c log_rotation_age=1 -c max_connections=30
