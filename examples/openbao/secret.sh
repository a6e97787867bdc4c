#!/bin/sh
# Print this Worker's secret:  BAO_ADDR=https://bao.example.com lyftdata run worker -- sh secret.sh
set -eu

audience=https://bao.example.com

# `bao` reads its token from $HOME/.vault-token: use a private temporary directory, deleted at exit.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
# Pass the token on standard input: arguments are visible in `ps`.
lyftdata token --audience "$audience" |
  bao write -field=token auth/lyftdata/cel/login role=worker jwt=- >"$home/.vault-token"
HOME=$home bao kv get -field=password "secret/workers/$LYFTDATA_WORKER_ID"
