#!/bin/sh
mkdir -p /data/in /data/out
exec cron -f
