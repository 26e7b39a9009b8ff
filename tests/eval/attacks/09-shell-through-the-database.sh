# workload: postgres
# technique: T1059.004
# finds: drift.shell-or-interpreter
psql=$(echo /usr/lib/postgresql/*/bin/psql)
$psql -h 127.0.0.1 -p 15432 -U postgres -qc "create temp table t(x text); copy t from program 'id'; select * from t"
