#!/bin/sh
# Data comes in.
seq "$1" $(($1 + 20)) > "$VOLUME/in/part-$1" 2>/dev/null
sleep 5
