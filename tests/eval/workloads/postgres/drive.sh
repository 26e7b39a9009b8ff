#!/bin/sh
# Transactions, reports, and now and then an operator's chores.
bin=$(echo /usr/lib/postgresql/*/bin)
export PGHOST=127.0.0.1 PGPORT=15432 PGUSER=postgres PGDATABASE=postgres
"$bin/psql" -qtc 'select 1 from pgbench_branches' > /dev/null 2>&1 || "$bin/pgbench" -iq -s 1
case $(($1 % 4)) in
0) "$bin/pgbench" -n -c 2 -T 2 ;;
1) "$bin/pgbench" -n -S -c 3 -T 2 ;;
2) "$bin/psql" -qtc 'select a.bid, sum(a.abalance) from pgbench_accounts a group by 1 order by 2' ;;
3) "$bin/psql" -qc 'create table if not exists r as select * from pgbench_tellers; drop table r; vacuum analyze' ;;
esac
sleep 3
