#!/bin/sh
# A burst of plain requests, some pages, and now and then an upload that is passed on.
load() {
    if [ "$LIGHT" ]; then curl -s -o /dev/null "$2"; else wrk -t1 -c"$1" -d1s "$2"; fi
}
case $(($1 % 3)) in
0) load 4 http://127.0.0.1:18080/ ;;
1) load 2 http://127.0.0.1:18080/site.css ;;
2) head -c 200000 /dev/zero | curl -s -o /dev/null --data-binary @- http://127.0.0.1:18080/api/items ;;
esac
curl -s -o /dev/null "http://127.0.0.1:18080/missing-$1" "http://127.0.0.1:18080/static/site.css"
sleep 3
