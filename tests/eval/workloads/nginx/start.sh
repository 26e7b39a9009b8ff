#!/bin/sh
# A web server that serves files, passes the rest on, and has its log rotated.
mkdir -p /var/log/nginx /var/lib/nginx
if [ -f /app/v2 ]; then cat /app/motd > /run/motd; fi
(
    while sleep 41; do
        mv /var/log/nginx/access.log /var/log/nginx/access.log.1
        kill -USR1 "$(cat /run/nginx.pid)"
        sleep 1
        gzip -f /var/log/nginx/access.log.1
    done
) &
exec nginx -c /app/nginx.conf
