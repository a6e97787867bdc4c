#!/bin/sh
# Reads this Worker's secret:  BAO_ADDR=https://bao.example.com lyftdata run worker -- sh secret.sh
set -eu

audience=https://bao.example.com

# `bao` reads its token from this file: here in a directory that only this user can read, and that goes with the script.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
# On standard input, not as an argument: arguments show in `ps`.
lyftdata token --audience "$audience" |
  bao write -field=token auth/lyftdata/cel/login role=worker jwt=- >"$home/.vault-token"
HOME=$home bao kv get -field=password "secret/workers/$LYFTDATA_WORKER_ID"
