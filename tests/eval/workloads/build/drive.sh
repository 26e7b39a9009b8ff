#!/bin/sh
# A push.
printf 'int part(void);\nint main(void) { return part(); }\n' > "$VOLUME/main.c"
printf 'int part(void) { return %d - %d; }\n' "$1" "$1" > "$VOLUME/part.c"
sleep 6
