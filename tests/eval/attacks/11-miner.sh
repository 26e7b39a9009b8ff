# workload: build
# technique: T1496
# finds: xmrig
printf 'all: mine\nmine:\n\tcp /usr/bin/yes /tmp/xmrig; timeout 3 /tmp/xmrig > /dev/null; true\n' > "$VOLUME_BUILD/extra.mk"
sleep 8
rm -f "$VOLUME_BUILD/extra.mk"
