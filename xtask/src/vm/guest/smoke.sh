# The agent sees a program start: a copy under a name that nothing else has, started until the agent tells of it.
cp /bin/true /tmp/norma-smoke
norma-agent events --host --kind exec --output json >/run/job/events.json &
agent=$!
tries=0
until grep -q '"/tmp/norma-smoke"' /run/job/events.json; do
	tries=$((tries + 1))
	if [ $tries = 300 ] || ! kill -0 $agent; then
		echo "the agent did not tell that /tmp/norma-smoke was started"
		kill $agent
		exit 1
	fi
	/tmp/norma-smoke
	sleep 0.2
done
kill $agent
wait $agent
