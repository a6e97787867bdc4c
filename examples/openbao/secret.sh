#!/bin/sh
# Reads this Worker's secret:  BAO_ADDR=https://bao.example.com lyftdata run worker -- sh secret.sh
set -eu

audience=https://bao.example.com

# On standard input, not as an argument: arguments show in `ps`.
BAO_TOKEN=$(lyftdata token --audience "$audience" | bao write -field=token auth/lyftdata/login role=worker jwt=-)
export BAO_TOKEN
bao kv get -field=password "secret/workers/$LYFTDATA_WORKER_ID"
