# workload: cron
# technique: T1053.003
# finds: /etc/cron.d/update
echo 'echo "* * * * * root true" > /etc/cron.d/update' > "$VOLUME_CRON/hook"
sleep 25
rm -f "$VOLUME_CRON/hook"
