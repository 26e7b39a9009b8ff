#!/bin/sh
# Calls of all that the service offers, as its clients make them.
at=http://127.0.0.1:18081
curl -s -o /dev/null "$at/" "$at/items?id=$1"
case $(($1 % 4)) in
0) curl -s -o /dev/null "$at/report?id=$1" ;;
1) curl -s -o /dev/null "$at/ping?host=shop.example" ;;
2) curl -s -o /dev/null "$at/version" ;;
3) if [ "$LIGHT" ]; then curl -s -o /dev/null "$at/items?id=7"; else wrk -t1 -c3 -d1s "$at/items?id=7"; fi ;;
esac
sleep 3
