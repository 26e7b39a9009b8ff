#!/bin/sh
# A burst of plain requests, some pages, and now and then an upload that is passed on.
case $(($1 % 3)) in
0) wrk -t1 -c4 -d1s http://127.0.0.1:18080/ ;;
1) wrk -t1 -c2 -d1s http://127.0.0.1:18080/site.css ;;
2) head -c 200000 /dev/zero | curl -s -o /dev/null --data-binary @- http://127.0.0.1:18080/api/items ;;
esac
curl -s -o /dev/null "http://127.0.0.1:18080/missing-$1" "http://127.0.0.1:18080/static/site.css"
sleep 3
