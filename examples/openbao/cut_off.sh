#!/bin/sh
# Disable a Worker at OpenBao at once: sh cut_off.sh WORKER_ID. Disable it at the Server first, or it can log in again when re-enabled here.
set -eu

accessor=$(bao auth list -format=json | sed -n '/"lyftdata\/"/,/}/s/.*"accessor": "\(.*\)".*/\1/p')
entity=$(bao write -field=id identity/lookup/entity alias_name="$1" alias_mount_accessor="$accessor")
bao write "identity/entity/id/$entity" disabled=true
