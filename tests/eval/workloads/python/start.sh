#!/bin/sh
exec python3 /app/app.py
