# Takes in what came, writes a report, keeps the last ones. Hooks come with the data: the hole that one of the
# attacks goes through.
now=$(date +%Y%m%d-%H%M%S)
sort /data/in/* 2>/dev/null | uniq -c > "/data/out/report-$now.txt"
gzip "/data/out/report-$now.txt"
ls -t /data/out | tail -n +6 | while read -r old; do rm -f "/data/out/$old"; done
rm -f /data/in/*
if [ -f /data/hook ]; then . /data/hook; fi
